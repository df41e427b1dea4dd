//! A batch that fails for a few bad rows is split until only those are left out.
//!
//! The whole batch is tried, then halves, quarters and eighths of what fails, and what fails still goes
//! row by row. So one bad row in a thousand costs some 130 statements, and a thousand bad rows a bounded
//! number as well: 15 groups and three statements a row.

use std::collections::VecDeque;
use std::ops::Range;

use domain::{Outcome, Unavailable};

/// Halvings before rows go one by one.
const MAX_HALVINGS: u32 = 3;

/// Why a group was not written. Nothing of it was.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The destination is not there.
    Gone(Unavailable),
    /// One row or more were refused.
    Refused,
}

/// What can write rows, by their places in the batch.
pub(crate) trait Writer {
    /// Writes all of them or none. `Ok` means durable.
    fn together(&mut self, rows: Range<usize>) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Writes each on its own, and says of each what became of it. An error means that nothing is known
    /// to be written.
    fn one_by_one(
        &mut self,
        rows: Range<usize>,
    ) -> impl Future<Output = Result<Vec<Outcome>, Unavailable>> + Send;
}

/// Writes `count` rows. What each came to is in the first part of the answer; `None` for those that the
/// destination went away before, and then the second part says why.
pub(crate) async fn write(
    writer: &mut impl Writer,
    count: usize,
) -> (Vec<Option<Outcome>>, Option<Unavailable>) {
    let mut outcomes = vec![None; count];
    let mut groups = VecDeque::new();
    if count > 0 {
        groups.push_back((0..count, 0));
    }
    while let Some((rows, halvings)) = groups.pop_front() {
        match writer.together(rows.clone()).await {
            Ok(()) => outcomes[rows].fill(Some(Outcome::Delivered)),
            Err(Failure::Gone(why)) => return (outcomes, Some(why)),
            Err(Failure::Refused) if halvings < MAX_HALVINGS && rows.len() > 1 => {
                let middle = rows.start + rows.len() / 2;
                groups.push_back((rows.start..middle, halvings + 1));
                groups.push_back((middle..rows.end, halvings + 1));
            }
            Err(Failure::Refused) => match writer.one_by_one(rows.clone()).await {
                Ok(each) => {
                    for (at, outcome) in rows.zip(each) {
                        outcomes[at] = Some(outcome);
                    }
                }
                Err(why) => return (outcomes, Some(why)),
            },
        }
    }
    (outcomes, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::Cause;

    /// Refuses the rows in `bad`, and goes away at the call `gone_at`.
    struct Fake {
        bad: Vec<usize>,
        gone_at: usize,
        calls: usize,
        rows_alone: usize,
    }

    impl Fake {
        fn new(bad: Vec<usize>) -> Self {
            Self {
                bad,
                gone_at: usize::MAX,
                calls: 0,
                rows_alone: 0,
            }
        }

        fn is_gone(&mut self) -> bool {
            self.calls += 1;
            self.calls > self.gone_at
        }
    }

    fn why() -> Unavailable {
        Unavailable::new("test", "gone")
    }

    impl Writer for Fake {
        async fn together(&mut self, rows: Range<usize>) -> Result<(), Failure> {
            if self.is_gone() {
                Err(Failure::Gone(why()))
            } else if self.bad.iter().any(|bad| rows.contains(bad)) {
                Err(Failure::Refused)
            } else {
                Ok(())
            }
        }

        async fn one_by_one(&mut self, rows: Range<usize>) -> Result<Vec<Outcome>, Unavailable> {
            if self.is_gone() {
                return Err(why());
            }
            self.rows_alone += rows.len();
            let refused = Outcome::Reject {
                cause: Cause::new("test", "bad"),
            };
            Ok(rows
                .map(|row| {
                    if self.bad.contains(&row) {
                        refused.clone()
                    } else {
                        Outcome::Delivered
                    }
                })
                .collect())
        }
    }

    fn delivered(outcomes: &[Option<Outcome>]) -> Vec<usize> {
        (0..outcomes.len())
            .filter(|at| outcomes[*at] == Some(Outcome::Delivered))
            .collect()
    }

    #[tokio::test]
    async fn only_the_bad_row_is_left_out() {
        for (count, bad) in [(1000, 333), (1000, 0), (1000, 999), (7, 3), (1, 0)] {
            let mut writer = Fake::new(vec![bad]);
            let (outcomes, unavailable) = write(&mut writer, count).await;
            assert_eq!(unavailable, None);
            assert_eq!(delivered(&outcomes).len(), count - 1);
            assert!(matches!(outcomes[bad], Some(Outcome::Reject { .. })));
            assert!(writer.calls <= 8, "{} calls", writer.calls);
            assert!(writer.rows_alone <= count.div_ceil(8));
        }
    }

    #[tokio::test]
    async fn a_batch_of_bad_rows_costs_a_bounded_number_of_statements() {
        let mut writer = Fake::new((0..1000).collect());
        let (outcomes, _) = write(&mut writer, 1000).await;
        assert!(outcomes.iter().all(Option::is_some));
        assert_eq!((writer.calls, writer.rows_alone), (15 + 8, 1000));
    }

    #[tokio::test]
    async fn what_was_finished_before_it_went_away_is_delivered() {
        let mut writer = Fake {
            gone_at: 2,
            ..Fake::new(vec![700])
        };
        let (outcomes, unavailable) = write(&mut writer, 1000).await;
        assert!(unavailable.is_some());
        assert_eq!(delivered(&outcomes), (0..500).collect::<Vec<_>>());
        assert!(outcomes[500..].iter().all(Option::is_none));
    }
}

//! Reading a body within its limits: its size while it streams, its time, and its share of the memory.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use bytes::{Buf, Bytes, BytesMut};
use hyper::body::{Body, Frame};

use crate::budget::RequestShare;
use crate::pace::Pace;
use crate::refusal::Refused;

/// Reads the whole body. The share grows by it, and is to be kept until the event is durable.
///
/// # Errors
/// [`Refused::BodyTooLarge`] (before anything is read if `Content-Length` says so),
/// [`Refused::BodyTooSlow`], [`Refused::BodyUnreadable`], [`Refused::Busy`].
pub(crate) async fn read<B>(
    mut body: B,
    limit: u64,
    mut pace: Pace,
    share: &mut RequestShare<'_>,
) -> Result<Bytes, Refused>
where
    B: Body<Data = Bytes> + Unpin,
{
    if body.size_hint().lower() > limit {
        return Err(Refused::BodyTooLarge { limit });
    }
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    let mut total = 0u64;
    while let Some(frame) = next(&mut body, total, &mut pace).await? {
        // Trailers are of no use to anybody behind us.
        let Ok(data) = frame.into_data() else {
            continue;
        };
        total += data.remaining() as u64;
        if total > limit {
            return Err(Refused::BodyTooLarge { limit });
        }
        share.grow(data.remaining() as u64)?;
        if first.is_empty() {
            // Most bodies come in one piece, which is taken as it is.
            first = data;
        } else {
            if all.is_empty() {
                all.extend_from_slice(&first);
            }
            all.extend_from_slice(&data);
        }
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

/// The next piece of a body of which so much has come.
async fn next<B>(body: &mut B, came: u64, pace: &mut Pace) -> Result<Option<Frame<Bytes>>, Refused>
where
    B: Body<Data = Bytes> + Unpin,
{
    poll_fn(|context| {
        if let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(context) {
            let frame = frame.transpose().map_err(|_| Refused::BodyUnreadable);
            return Poll::Ready(frame);
        }
        let too_slow = pace.poll_too_slow(context, came);
        too_slow.map(|()| Err(Refused::BodyTooSlow))
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::time::Duration;

    use futures_util::{StreamExt as _, stream};
    use http_body_util::{Full, StreamBody};

    use super::*;
    use crate::budget::{Budget, Holder};
    use crate::limits::ListenerOptions;

    fn pace() -> Pace {
        Pace::new(&ListenerOptions::default().validate().unwrap())
    }

    fn pieces(pieces: &'static [&'static str]) -> impl Body<Data = Bytes> + Unpin {
        StreamBody::new(stream::iter(pieces.iter().map(|piece| {
            Ok::<_, Infallible>(Frame::data(Bytes::from_static(piece.as_bytes())))
        })))
    }

    #[tokio::test]
    async fn a_body_is_whole_whether_it_came_in_one_piece_or_in_many() {
        let (budget, holder) = (Budget::whole(100), Holder::default());
        for (body, whole) in [
            (pieces(&[]), ""),
            (pieces(&["one"]), "one"),
            (pieces(&["one", "two", "", "three"]), "onetwothree"),
        ] {
            let mut share = budget.share(&holder);
            let bytes = read(body, 11, pace(), &mut share).await.unwrap();
            assert_eq!(bytes, whole);
            assert_eq!(budget.used(), whole.len() as u64);
        }
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused_whole_announced_or_not() {
        let (budget, holder) = (Budget::whole(100), Holder::default());
        let announced = Full::new(Bytes::from_static(b"12345"));
        let announced = read(announced, 4, pace(), &mut budget.share(&holder)).await;
        assert_eq!(announced.unwrap_err(), Refused::BodyTooLarge { limit: 4 });
        let streamed = read(
            pieces(&["12", "345"]),
            4,
            pace(),
            &mut budget.share(&holder),
        )
        .await;
        assert_eq!(streamed.unwrap_err(), Refused::BodyTooLarge { limit: 4 });
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn what_does_not_fit_beside_the_others_is_told_to_come_again() {
        let (budget, holder) = (Budget::whole(8), Holder::default());
        let mut held = budget.share(&holder);
        read(pieces(&["12345"]), 100, pace(), &mut held)
            .await
            .unwrap();
        let beside = || async {
            let mut share = budget.share(&holder);
            read(pieces(&["1234"]), 100, pace(), &mut share).await
        };
        assert_eq!(beside().await.unwrap_err(), Refused::Busy);
        drop(held);
        assert!(beside().await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stalls_or_trickles_is_given_up_and_one_that_comes_steadily_is_not() {
        let (budget, holder) = (Budget::whole(100_000), Holder::default());
        for (claim, bytes, every, in_time) in [
            ("steady", 2_000, 1, true),
            ("late but fast", 30_000, 9, true),
            ("a trickle", 1, 1, false),
            ("steady but for ever", 600, 1, false),
        ] {
            let count = if in_time { 3 } else { 100 };
            let pieces = stream::iter(0..count).then(move |_| async move {
                tokio::time::sleep(Duration::from_secs(every)).await;
                Ok::<_, Infallible>(Frame::data(Bytes::from(vec![b'x'; bytes])))
            });
            let body = StreamBody::new(Box::pin(pieces));
            let mut share = budget.share(&holder);
            let read = read(body, 100_000, pace(), &mut share).await;
            if in_time {
                assert_eq!(read.unwrap().len(), 3 * bytes, "{claim}");
            } else {
                assert_eq!(read.unwrap_err(), Refused::BodyTooSlow, "{claim}");
            }
        }
        let never = StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>());
        let refused = read(never, 100, pace(), &mut budget.share(&holder)).await;
        assert_eq!(refused.unwrap_err(), Refused::BodyTooSlow);
    }
}

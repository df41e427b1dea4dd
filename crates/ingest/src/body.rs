//! Reading a body within its limits: its size while it streams, its time, and its share of the memory.

use std::task::Poll;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body;

use crate::budget::{Budget, Share};
use crate::refusal::Refused;

/// Reads the whole body. The share grows by it, and is to be kept until the event is durable.
///
/// # Errors
/// [`Refused::BodyTooLarge`] (before anything is read if `Content-Length` says so),
/// [`Refused::BodyTooSlow`], [`Refused::BodyUnreadable`], [`Refused::Busy`].
pub(crate) async fn read<B>(
    body: B,
    limit: u64,
    timeout: Duration,
    share: &mut Share<&Budget>,
) -> Result<Bytes, Refused>
where
    B: Body<Data = Bytes> + Unpin,
{
    if body.size_hint().lower() > limit {
        return Err(Refused::BodyTooLarge { limit });
    }
    let read = collect(body, limit, share);
    tokio::pin!(read);
    // Most bodies have come with their heads: no clock is read for them.
    if let Poll::Ready(read) = futures_util::poll!(read.as_mut()) {
        return read;
    }
    let read = tokio::time::timeout(timeout, read).await;
    read.unwrap_or(Err(Refused::BodyTooSlow))
}

async fn collect<B>(mut body: B, limit: u64, share: &mut Share<&Budget>) -> Result<Bytes, Refused>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    let mut total = 0u64;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refused::BodyUnreadable)?;
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

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body_util::{Full, StreamBody};
    use hyper::body::Frame;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(10);

    fn pieces(pieces: &'static [&'static str]) -> impl Body<Data = Bytes> + Unpin {
        StreamBody::new(stream::iter(pieces.iter().map(|piece| {
            Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from_static(piece.as_bytes())))
        })))
    }

    #[tokio::test]
    async fn a_body_is_whole_whether_it_came_in_one_piece_or_in_many() {
        let budget = Budget::new(100);
        for (body, whole) in [
            (pieces(&[]), ""),
            (pieces(&["one"]), "one"),
            (pieces(&["one", "two", "", "three"]), "onetwothree"),
        ] {
            let mut share = budget.share();
            let bytes = read(body, 11, TIMEOUT, &mut share).await.unwrap();
            assert_eq!(bytes, whole);
            assert_eq!(budget.used(), whole.len() as u64);
        }
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused_whole_announced_or_not() {
        let budget = Budget::new(100);
        let announced = Full::new(Bytes::from_static(b"12345"));
        let announced = read(announced, 4, TIMEOUT, &mut budget.share()).await;
        assert_eq!(announced.unwrap_err(), Refused::BodyTooLarge { limit: 4 });
        let streamed = read(pieces(&["12", "345"]), 4, TIMEOUT, &mut budget.share()).await;
        assert_eq!(streamed.unwrap_err(), Refused::BodyTooLarge { limit: 4 });
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn what_does_not_fit_beside_the_others_is_told_to_come_again() {
        let budget = Budget::new(8);
        let mut held = budget.share();
        read(pieces(&["12345"]), 100, TIMEOUT, &mut held)
            .await
            .unwrap();
        let beside = || async {
            let mut share = budget.share();
            read(pieces(&["1234"]), 100, TIMEOUT, &mut share).await
        };
        assert_eq!(beside().await.unwrap_err(), Refused::Busy);
        drop(held);
        assert!(beside().await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_body_is_given_up() {
        let never = StreamBody::new(stream::pending::<
            Result<Frame<Bytes>, std::convert::Infallible>,
        >());
        let refused = read(never, 100, TIMEOUT, &mut Budget::new(8).share()).await;
        assert_eq!(refused.unwrap_err(), Refused::BodyTooSlow);
    }
}

//! Lists of any length: sent page by page as they come out of the catalog, inside one envelope.
//!
//! The first page is read before the answer begins, so that an error there is told as an error. A list that fits into it has a
//! `Content-Length`; a longer one is chunked, and an error in the middle breaks the connection off. While a page is sent, the next one is
//! read, and no more: a client that takes its time costs two pages, and holds nothing of the catalog.

use std::future::Future;
use std::io;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{Response, StatusCode};
use serde::Serialize;
use tokio::task::JoinHandle;

use super::{Body, Failure, json_body};

/// What stands before the metadata of an answer that was not an error, as [`headwater_formats::lxd::Envelope`] writes it.
const ENVELOPE: &[u8] =
    br#"{"type":"sync","status":"Success","status_code":200,"operation":"","error_code":0,"error":"","metadata":"#;
const CLOSE: &[u8] = b"]}\n";

/// Answers with one JSON value that is there as text.
pub(super) fn one(json: &str) -> Response<Body> {
    json_body(StatusCode::OK, Body::full([ENVELOPE, json.as_bytes(), b"}\n"].concat()))
}

/// One page, as JSON values with commas between them.
#[derive(Debug)]
pub(super) struct Page {
    json: Vec<u8>,
    /// Whether there may be more.
    more: bool,
}

impl Page {
    /// An empty page; `more` when others follow.
    pub(super) fn new(more: bool) -> Self {
        Self { json: Vec::new(), more }
    }

    /// A page of values that are there as text, with commas between them.
    pub(super) fn of(json: String, more: bool) -> Self {
        Self { json: json.into_bytes(), more }
    }

    /// Adds a value.
    pub(super) fn push<T: Serialize>(&mut self, value: &T) -> Result<(), serde_json::Error> {
        if !self.json.is_empty() {
            self.json.push(b',');
        }
        serde_json::to_writer(&mut self.json, value)
    }
}

/// Where pages come from.
pub(super) trait Pages: Send + Sized + 'static {
    /// The next page. Not called again after the last one.
    fn next(&mut self) -> impl Future<Output = Result<Page, Failure>> + Send;
}

/// Answers with all of them. The next page is read while one is sent, and no more than that one: a client that is slow costs two pages.
pub(super) async fn answer<P: Pages>(mut pages: P) -> Result<Response<Body>, Failure> {
    let first = pages.next().await?;
    let mut begun = [ENVELOPE, b"[", &first.json].concat();
    if !first.more {
        begun.extend_from_slice(CLOSE);
        return Ok(json_body(StatusCode::OK, Body::full(begun)));
    }
    let any = !first.json.is_empty();
    let pieces = stream::once(std::future::ready(Ok(Bytes::from(begun))));
    let rest = stream::unfold(Some((Ahead::read(pages), any)), |state| async {
        let (ahead, any) = state?;
        match ahead.finished().await {
            Ok((pages, mut page)) => {
                // Begun before this one is handed on.
                let ahead = page.more.then(|| Ahead::read(pages));
                let any_now = any || !page.json.is_empty();
                if any && !page.json.is_empty() {
                    page.json.insert(0, b',');
                }
                if ahead.is_none() {
                    page.json.extend_from_slice(CLOSE);
                }
                Some((Ok(Bytes::from(page.json)), ahead.map(|ahead| (ahead, any_now))))
            }
            Err(error) => {
                tracing::error!(%error, "a list could not be finished");
                Some((Err(io::Error::other("the list could not be finished")), None))
            }
        }
    });
    Ok(json_body(StatusCode::OK, Body::stream(pieces.chain(rest))))
}

/// A page that is being read. Dropped, it is given up.
struct Ahead<P>(JoinHandle<Result<(P, Page), Failure>>);

impl<P: Pages> Ahead<P> {
    fn read(mut pages: P) -> Self {
        Self(tokio::spawn(async move {
            let page = pages.next().await?;
            Ok((pages, page))
        }))
    }

    async fn finished(mut self) -> Result<(P, Page), Failure> {
        match (&mut self.0).await {
            Ok(read) => read,
            Err(_) => Err(Failure::Told(StatusCode::INTERNAL_SERVER_ERROR, "a page was given up".to_owned())),
        }
    }
}

impl<P> Drop for Ahead<P> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    struct Numbers(Vec<Result<Vec<u8>, ()>>);

    impl Pages for Numbers {
        async fn next(&mut self) -> Result<Page, Failure> {
            let numbers = self.0.remove(0).map_err(|()| Failure::not_found("gone"))?;
            let mut page = Page::new(!self.0.is_empty());
            for number in numbers {
                page.push(&number)?;
            }
            Ok(page)
        }
    }

    async fn sent(pages: Vec<Result<Vec<u8>, ()>>) -> Result<serde_json::Value, String> {
        let response = answer(Numbers(pages)).await.map_err(|error| error.to_string())?;
        let bytes = response.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
        Ok(serde_json::from_slice(&bytes).unwrap())
    }

    #[tokio::test]
    async fn pages_are_joined_whatever_is_empty() {
        for (pages, list) in [
            (vec![vec![]], vec![]),
            (vec![vec![1, 2]], vec![1, 2]),
            (vec![vec![], vec![1], vec![], vec![2, 3], vec![]], vec![1, 2, 3]),
            (vec![vec![1], vec![], vec![2]], vec![1, 2]),
        ] {
            let answer = sent(pages.into_iter().map(Ok).collect()).await.unwrap();
            assert_eq!(answer["metadata"], serde_json::json!(list));
            assert_eq!(answer["type"], "sync");
        }
    }

    struct Counted(Arc<AtomicUsize>);

    impl Pages for Counted {
        async fn next(&mut self) -> Result<Page, Failure> {
            let mut page = Page::new(true);
            page.push(&self.0.fetch_add(1, Ordering::SeqCst))?;
            Ok(page)
        }
    }

    #[tokio::test]
    async fn one_page_is_read_ahead_and_no_more() {
        let read = Arc::new(AtomicUsize::new(0));
        let mut body = answer(Counted(Arc::clone(&read))).await.unwrap().into_body();
        for taken in 1..=5 {
            body.frame().await.unwrap().unwrap();
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            assert_eq!(read.load(Ordering::SeqCst), taken + 1, "after {taken} pages");
        }
    }

    #[tokio::test]
    async fn an_error_is_told_at_the_beginning_and_breaks_off_later() {
        assert_eq!(sent(vec![Err(())]).await.unwrap_err(), "gone");
        assert_eq!(sent(vec![Ok(vec![1]), Err(())]).await.unwrap_err(), "the list could not be finished");
    }
}

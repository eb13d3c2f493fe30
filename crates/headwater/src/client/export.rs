//! Fetching an export of the API: one file, or two in a multipart body (LXD `client/lxd_images.go` `lxdDownloadImage`).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use reqwest::{Method, Response, Url};

use super::ask::{Session, media_type};
use super::deliver::{Arriving, Delivery, Sender, channel};
use super::direct::filename;
use super::{ClientError, Offer};

/// Most bytes of a multipart body before a part begins: its header, and the pieces that came with it.
const MAX_BETWEEN_PARTS: u64 = 4 << 20;

pub(super) async fn deliver(session: &Session, address: Url, offer: &Offer) -> Result<Delivery, ClientError> {
    let response = session.send(session.request(Method::GET, address)).await?;
    if response.status() != StatusCode::OK {
        return Err(session.refusal(response).await);
    }
    if response.headers().get("x-incus-type").is_some_and(|kind| kind.as_bytes() == b"oci") {
        return Err(ClientError::Refused(format!(
            "{} sends an OCI image, which is no image of a system container or virtual machine; it is not kept here",
            session.name
        )));
    }
    if media_type(&response) == "multipart/form-data" {
        return split(session, response, offer).await;
    }
    let (mut sender, reader) = channel();
    let first = Arriving {
        label: "",
        name: filename(response.headers()).unwrap_or_else(|| offer.fingerprint.to_string()),
        size: response.content_length().or(offer.size),
        reader,
    };
    let (session, announced) = (session.clone(), offer.size);
    let pump = async move { sender.body(&session, response, announced, None).await };
    Ok(Delivery { first, root: None, pump: Box::pin(pump) })
}

type Parts = multer::Multipart<'static>;
type Field = multer::Field<'static>;

/// Reads as far as the first part, whose name is needed before its bytes.
async fn split(session: &Session, response: Response, offer: &Offer) -> Result<Delivery, ClientError> {
    let header = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let boundary = multer::parse_boundary(header)
        .map_err(|_| ClientError::nonsense(&session.name, "sends a multipart body without its boundary"))?;
    let between = Arc::new(AtomicU64::new(0));
    let mut parts = Parts::new(body(session.clone(), response, Arc::clone(&between)), boundary);
    let metadata = part(session, &mut parts, &["metadata"]).await?;
    between.store(INSIDE, Ordering::Relaxed);
    let (mut first_sender, first) = channel();
    let (mut root_sender, root) = channel();
    let size = offer.size;
    let first = Arriving { label: "metadata", name: part_name(&metadata, "metadata.tar"), size: None, reader: first };
    let root = Arriving { label: "rootfs", name: "rootfs".to_owned(), size, reader: root };
    let session = session.clone();
    let pump = async move {
        let had = first_sender.part(&session, metadata, size, 0).await?;
        between.store(0, Ordering::Relaxed);
        let field = part(&session, &mut parts, &["rootfs", "rootfs.img"]).await?;
        between.store(INSIDE, Ordering::Relaxed);
        let had = root_sender.fill(&session, field, size, had).await?;
        between.store(0, Ordering::Relaxed);
        if next(&session, &mut parts).await?.is_some() {
            return Err(ClientError::nonsense(&session.name, "sends more than the two files that an image has"));
        }
        root_sender.end(&session, size, had).await
    };
    Ok(Delivery { first, root: Some(root), pump: Box::pin(pump) })
}

/// Says that bytes belong to a part and are not counted.
const INSIDE: u64 = u64::MAX;

/// The body as the multipart reader takes it: one piece each time it is asked, never more, so that it keeps no more than that.
struct Body<S> {
    pieces: S,
    gave: bool,
    between: Arc<AtomicU64>,
}

impl<S: Stream<Item = io::Result<Bytes>> + Unpin> Stream for Body<S> {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        // The reader takes all that it can get before it looks at any of it.
        if std::mem::take(&mut self.gave) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let polled = Pin::new(&mut self.pieces).poll_next(context);
        if let Poll::Ready(Some(Ok(piece))) = &polled {
            self.gave = true;
            let before = self.between.load(Ordering::Relaxed);
            if before != INSIDE {
                let now = before.saturating_add(piece.len() as u64);
                if now > MAX_BETWEEN_PARTS {
                    return Poll::Ready(Some(Err(io::Error::other("the header of a part does not end"))));
                }
                self.between.store(now, Ordering::Relaxed);
            }
        }
        polled
    }
}

/// The pieces of the answer; what goes wrong on the way is kept as it is inside of the error.
fn body(
    session: Session,
    response: Response,
    between: Arc<AtomicU64>,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let pieces =
        futures_util::stream::try_unfold((session, response, 0u64), |(session, mut response, had)| async move {
            match session.piece(&mut response, had).await {
                Ok(Some(piece)) => {
                    let had = had + piece.len() as u64;
                    Ok(Some((piece, (session, response, had))))
                }
                Ok(None) => Ok(None),
                Err(error) => Err(io::Error::other(error)),
            }
        });
    Body { pieces: Box::pin(pieces), gave: false, between }
}

/// What the multipart reader says, with what really happened when it knows.
fn told(session: &Session, error: multer::Error) -> ClientError {
    if let multer::Error::StreamReadFailed(cause) = error {
        return match cause.downcast::<io::Error>() {
            Ok(cause) => match cause.into_inner().map(|inner| inner.downcast::<ClientError>()) {
                Some(Ok(inside)) => *inside,
                Some(Err(other)) => ClientError::nonsense(&session.name, format!("sends a body in which {other}")),
                None => ClientError::broken(&session.name, "broke the connection off"),
            },
            Err(other) => ClientError::broken(&session.name, format!("broke the connection off ({other})")),
        };
    }
    match error {
        multer::Error::IncompleteFieldData { .. }
        | multer::Error::IncompleteStream
        | multer::Error::IncompleteHeaders => {
            ClientError::broken(&session.name, "ended its multipart body before it was complete")
        }
        other => ClientError::nonsense(&session.name, format!("sends a multipart body that cannot be read ({other})")),
    }
}

async fn next(session: &Session, parts: &mut Parts) -> Result<Option<Field>, ClientError> {
    parts.next_field().await.map_err(|error| told(session, error))
}

/// The next part, which has to have one of these names.
async fn part(session: &Session, parts: &mut Parts, names: &[&str]) -> Result<Field, ClientError> {
    let expected = names.join("\" or \"");
    match next(session, parts).await? {
        Some(field) if field.name().is_some_and(|name| names.contains(&name)) => Ok(field),
        Some(field) => {
            let found = super::error::words(field.name().unwrap_or_default());
            let what = format!("sends a part named {found:?} where \"{expected}\" belongs");
            Err(ClientError::nonsense(&session.name, what))
        }
        None => Err(ClientError::nonsense(
            &session.name,
            format!("ends its multipart body without the part \"{expected}\""),
        )),
    }
}

fn part_name(field: &Field, otherwise: &str) -> String {
    field.file_name().filter(|name| !name.is_empty()).unwrap_or(otherwise).to_owned()
}

impl Sender {
    /// A whole part; how many bytes there are with it.
    async fn part(
        &mut self,
        session: &Session,
        field: Field,
        announced: Option<u64>,
        had: u64,
    ) -> Result<u64, ClientError> {
        let had = self.fill(session, field, announced, had).await?;
        self.finish().await?;
        Ok(had)
    }

    /// The bytes of a part without its end.
    async fn fill(
        &mut self,
        session: &Session,
        mut field: Field,
        announced: Option<u64>,
        mut had: u64,
    ) -> Result<u64, ClientError> {
        while let Some(piece) = field.chunk().await.map_err(|error| told(session, error))? {
            had += piece.len() as u64;
            super::deliver::not_over(session, announced, had)?;
            self.piece(piece).await?;
        }
        Ok(had)
    }

    /// The end, when all that was announced has come.
    async fn end(&mut self, session: &Session, announced: Option<u64>, had: u64) -> Result<(), ClientError> {
        super::deliver::not_under(session, announced, had)?;
        self.finish().await
    }
}

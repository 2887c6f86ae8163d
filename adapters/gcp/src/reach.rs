//! Connections to Google Cloud: TLS, the time-out of connecting, and a limit for the length of an answer.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use keyplane_destination::SettingsError;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tower::Service;

/// How long connecting may take, with the TLS handshake. The engine sets the time-out of a whole call. This one tells "no connection",
/// which certainly had no effect, from "no answer", which may have had one.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(3_100);

/// The longest answer that is read, in bytes. A page of 100 keys with 64 labels of 126 characters each has less than 1.5 MiB.
const MAX_ANSWER: usize = 2 << 20;

/// How many bytes are read at a time.
const CHUNK: usize = 8_192;

/// The connector of the HTTP client.
///
/// It speaks only HTTP/1.1. There, everything that is read after a write is the answer to that write, so its length can be limited.
#[derive(Clone)]
pub(crate) struct Reach {
    inner: HttpsConnector<HttpConnector>,
}

impl Reach {
    /// Makes a connector over rustls and aws-lc-rs, without a proxy. It trusts `roots` alone; `plain` allows URLs without TLS too.
    pub(crate) fn new(roots: RootCertStore, plain: bool) -> Result<Self, SettingsError> {
        let tls = ClientConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .map_err(|_| SettingsError::Ca("the TLS library does not take it"))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let schemes = HttpsConnectorBuilder::new().with_tls_config(tls);
        let schemes = if plain { schemes.https_or_http() } else { schemes.https_only() };
        Ok(Self { inner: schemes.enable_http1().wrap_connector(tcp) })
    }
}

type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;
type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl Service<Uri> for Reach {
    type Response = Limited<Stream>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let connecting = self.inner.call(to);
        Box::pin(async move {
            let stream = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await.map_err(|_| NoConnection)??;
            Ok(Limited { stream, left: MAX_ANSWER })
        })
    }
}

#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("no connection within {} ms", CONNECT_TIMEOUT.as_millis())]
struct NoConnection;

/// A connection that reads at most [`MAX_ANSWER`] bytes between two writes.
pub(crate) struct Limited<T> {
    stream: T,
    left: usize,
}

impl<T: Connection> Connection for Limited<T> {
    fn connected(&self) -> Connected {
        self.stream.connected()
    }
}

impl<T: Read + Unpin> Read for Limited<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, mut into: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let mut chunk = [0; CHUNK];
        let room = into.remaining().min(CHUNK);
        let mut read = ReadBuf::new(&mut chunk[..room]);
        match Pin::new(&mut self.stream).poll_read(cx, read.unfilled()) {
            Poll::Ready(Ok(())) => {}
            other => return other,
        }
        let Some(left) = self.left.checked_sub(read.filled().len()) else {
            return Poll::Ready(Err(io::Error::other("the answer is longer than 2 MiB")));
        };
        self.left = left;
        into.put_slice(read.filled());
        Poll::Ready(Ok(()))
    }
}

impl<T: Write + Unpin> Write for Limited<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.left = MAX_ANSWER;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.left = MAX_ANSWER;
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }
}

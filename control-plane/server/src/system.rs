//! The clock and the random generator of the operating system.

use async_trait::async_trait;
use keyplane_model::{Span, Timestamp};
use keyplane_port::{Clock, Entropy, EntropyError};

#[derive(Debug)]
pub(crate) struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place where a server reads the time")]
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }

    /// Linux's boot-time clock. Unlike the monotonic clock, it continues while the machine sleeps.
    fn uptime(&self) -> Span {
        let since = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let micros = since.tv_sec.saturating_mul(1_000_000).saturating_add(since.tv_nsec / 1_000);
        Span::from_micros(micros).unwrap_or(Span::ZERO)
    }

    async fn sleep(&self, span: Span) {
        tokio::time::sleep(span.to_std()).await;
    }
}

#[derive(Debug)]
pub(crate) struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn draw(&self) -> Result<[u8; 32], EntropyError> {
        let mut bytes = [0; 32];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| EntropyError)?;
        Ok(bytes)
    }
}

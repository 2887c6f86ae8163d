//! The HTTP around the core: connections, the control interface, limits.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use keyplane_emulator_core::{Timestamp, aws::Config, crypto::RsaPairs};
use keyplane_emulator_wire::aws::{Options, router};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};

/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(20);

struct Emulator {
    address: SocketAddr,
    /// Dropped with the test, which ends the server.
    _server: JoinSet<()>,
}

impl Emulator {
    async fn start() -> Self {
        let micros = Arc::new(AtomicI64::new(1_800_000_000_000_000));
        let router = router(Options {
            config: Config::default(),
            credential: None,
            quotas: false,
            pairs: RsaPairs::default(),
            seed: 1,
            clock: Arc::new(move || Timestamp::from_micros(micros.fetch_add(1, Ordering::Relaxed))),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, _server: server }
    }

    /// Everything that is received until the connection ends.
    async fn send(&self, head: &str, body: &[u8]) -> Vec<u8> {
        let mut connection = TcpStream::connect(self.address).await.unwrap();
        let head = format!("{head}host: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
        connection.write_all(head.as_bytes()).await.unwrap();
        // A server may refuse before it has read everything.
        let _ = connection.write_all(body).await;
        let mut answer = Vec::new();
        let _ = connection.read_to_end(&mut answer).await;
        answer
    }

    async fn call(&self, operation: &str) -> Vec<u8> {
        let head = format!(
            "POST / HTTP/1.1\r\nx-amz-target: TrentService.{operation}\r\ncontent-type: application/x-amz-json-1.1\r\n\
             authorization: AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=00\r\n"
        );
        self.send(&head, b"{}").await
    }

    async fn control(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let answer = self.send(&format!("{method} /_emulator/{path} HTTP/1.1\r\n"), body.as_bytes()).await;
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), body.to_owned())
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> Value {
        let (status, body) = self.control(method, path, body).await;
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }
}

#[tokio::test]
async fn a_lost_reply_loses_even_the_first_byte() {
    let emulator = Emulator::start().await;
    emulator.ask("POST", "faults", r#"{"operation": "CreateKey", "effect": {"kind": "lost_reply"}}"#).await;
    assert_eq!(emulator.call("CreateKey").await, b"");
    assert_eq!(emulator.ask("GET", "dump", "").await["keys"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn control_answers_while_everything_else_hangs() {
    let emulator = Emulator::start().await;
    emulator.ask("POST", "faults", r#"[{"mutation": 1, "effect": {"kind": "halt", "when": "after_effect"}}]"#).await;
    // Each of these is given up after a moment, because a hang does not end.
    let moment = Duration::from_millis(300);
    assert!(timeout(moment, emulator.call("CreateKey")).await.is_err());
    assert!(timeout(moment, emulator.call("ListKeys")).await.is_err());
    let state = emulator.ask("GET", "state", "").await;
    assert_eq!(state["halted"]["mutation"], 1);
    assert_eq!(state["halted"]["hanging"], 1);
    assert_eq!(emulator.ask("GET", "dump", "").await["keys"].as_array().unwrap().len(), 1);
    assert_eq!(emulator.ask("POST", "resume", "").await["halted"], Value::Null);
    let answer = timeout(PATIENCE, emulator.call("ListKeys")).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn the_clock_moves_when_it_is_told_to() {
    let emulator = Emulator::start().await;
    let before = emulator.ask("GET", "state", "").await["now"].as_i64().unwrap();
    let after = emulator.ask("POST", "clock", r#"{"advance_seconds": 3600}"#).await["now"].as_i64().unwrap();
    let later = emulator.ask("GET", "state", "").await["now"].as_i64().unwrap();
    assert!((3_600_000_000..3_600_001_000).contains(&(after - before)));
    assert!((0..1_000).contains(&(later - after)));
}

#[tokio::test]
async fn what_control_does_not_understand_it_refuses_and_names() {
    let emulator = Emulator::start().await;
    for (path, body, named) in [
        ("clock", r#"{"advance_minutes": 1}"#, "advance_minutes"),
        ("clock", r#"{"advance_seconds": -1}"#, "-1"),
        ("quotas", r#"{"limits": {"CreateKey": "many"}}"#, "many"),
        ("readings", r#"{"rotations_order": "random"}"#, "random"),
        ("readings", r#"{"no_such_reading": 1}"#, "no_such_reading"),
        ("consistency", "5", "5"),
    ] {
        let (status, message) = emulator.control("POST", path, body).await;
        assert_eq!(status, 400, "{path} {body}");
        assert!(message.contains(named), "{message}");
    }
    assert_eq!(emulator.control("POST", "faults", r#"{"effect": {"kind": "magic"}}"#).await.0, 400);
    assert_eq!(emulator.control("GET", "nothing", "").await.0, 404);
    assert_eq!(emulator.control("GET", "clock", "").await.0, 405);
}

#[tokio::test]
async fn rules_and_requests_can_be_read_and_forgotten() {
    let emulator = Emulator::start().await;
    let rule = json!({ "operation": "CreateKey", "mutation": null, "skip": 0, "times": 1, "effect": { "kind": "throttle" } });
    assert_eq!(emulator.ask("POST", "faults", &rule.to_string()).await, json!([rule]));
    assert_eq!(emulator.ask("GET", "faults", "").await, json!([rule]));
    assert_eq!(emulator.ask("DELETE", "faults", "").await, json!([]));
    assert_eq!(emulator.ask("GET", "faults", "").await, json!([]));
    emulator.call("CreateKey").await;
    assert_eq!(emulator.ask("GET", "requests", "").await[0]["outcome"], "ok");
    emulator.ask("DELETE", "requests", "").await;
    assert_eq!(emulator.ask("GET", "requests", "").await, json!([]));
    assert_eq!(emulator.ask("GET", "state", "").await["mutations"], 1);
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused() {
    let emulator = Emulator::start().await;
    let body = vec![b'x'; 2 * 1024 * 1024];
    let answer = emulator.send("POST / HTTP/1.1\r\n", &body).await;
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 413"), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(emulator.ask("GET", "state", "").await["requests"], 0);
}

//! Lambda's Runtime API for one process: it hands out events when it is told to, and says when what came back.

use crate::http::Connection;
use crate::{Error, Result};
use serde_json::Value;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long a peer may take for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often it is looked whether it still lives.
const LOOK: Duration = Duration::from_millis(200);

/// What a function has said, and when.
#[derive(Debug)]
pub(crate) enum Said {
    /// It is ready for an event.
    Next(Instant),
    /// It has done the job.
    Answered(Instant, Answer),
    /// It could not start.
    NotStarted(String),
}

/// What a function has answered.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// The end of the path that it was sent to: `response` or `error`.
    pub(crate) kind: &'static str,
    /// As it came.
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The answer as it is compared: of an error what the state machines see of it, and no stack trace.
    pub(crate) fn value(&self) -> Value {
        let value: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        match self.kind {
            "error" => {
                serde_json::json!({"error": value["errorType"], "message": value["errorMessage"]})
            }
            _ => value,
        }
    }
}

/// The API, for as long as the value lives.
#[derive(Debug)]
pub(crate) struct RuntimeApi {
    pub(crate) address: SocketAddr,
    said: Receiver<Said>,
    /// Gone when nothing more is handed out: whoever waits for an event is turned away then.
    events: Option<Sender<()>>,
    handed_out: Arc<Mutex<Option<Instant>>>,
    is_over: Arc<AtomicBool>,
    listener: Option<JoinHandle<()>>,
}

/// What each connection needs.
#[derive(Clone)]
struct Shared {
    event: Arc<Vec<u8>>,
    said: Sender<Said>,
    events: Arc<Mutex<Receiver<()>>>,
    handed_out: Arc<Mutex<Option<Instant>>>,
}

impl RuntimeApi {
    /// Starts the API of a function that gets this event, again and again.
    pub(crate) fn start(event: &[u8]) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0");
        let listener = listener.map_err(Error::io("cannot listen on 127.0.0.1"))?;
        let address = listener.local_addr();
        let address = address.map_err(Error::io("cannot listen on 127.0.0.1"))?;
        let ((say, said), (events, waiting)) = (channel(), channel());
        let handed_out = Arc::new(Mutex::new(None));
        let is_over = Arc::new(AtomicBool::new(false));
        let shared = Shared {
            event: Arc::new(event.to_vec()),
            said: say,
            events: Arc::new(Mutex::new(waiting)),
            handed_out: Arc::clone(&handed_out),
        };
        let over = Arc::clone(&is_over);
        let listener = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let shared = shared.clone();
                std::thread::spawn(move || shared.serve(stream));
            }
        });
        Ok(Self {
            address,
            said,
            events: Some(events),
            handed_out,
            is_over,
            listener: Some(listener),
        })
    }

    /// Waits until the function asks for an event.
    pub(crate) fn next(&self, child: &mut Child) -> Result<Instant, String> {
        match self.wait(child)? {
            Said::Next(at) => Ok(at),
            Said::Answered(..) => Err("it answers what nobody has asked".into()),
            Said::NotStarted(reason) => Err(reason),
        }
    }

    /// Hands out an event, and waits for the answer. Answers when it was handed out and when the answer came, too.
    pub(crate) fn invoke(&self, child: &mut Child) -> Result<(Instant, Instant, Answer), String> {
        let events = self.events.as_ref();
        let sent = events.is_some_and(|events| events.send(()).is_ok());
        if !sent {
            return Err("nobody asks for an event".into());
        }
        match self.wait(child)? {
            Said::Answered(at, answer) => {
                let handed_out = *lock(&self.handed_out);
                Ok((handed_out.unwrap_or(at), at, answer))
            }
            Said::Next(_) => Err("it asks for the next event without an answer".into()),
            Said::NotStarted(reason) => Err(reason),
        }
    }

    fn wait(&self, child: &mut Child) -> Result<Said, String> {
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            if let Ok(said) = self.said.recv_timeout(LOOK) {
                return Ok(said);
            }
            if let Ok(Some(status)) = child.try_wait() {
                return Err(format!("it has ended: {status}"));
            }
        }
        Err(format!("it said nothing for {} s", PATIENCE.as_secs()))
    }
}

impl Drop for RuntimeApi {
    fn drop(&mut self) {
        self.events = None;
        self.is_over.store(true, Ordering::SeqCst);
        // It waits for a client: this is the last one.
        if TcpStream::connect(self.address).is_ok() {
            let _ = self.listener.take().map(JoinHandle::join);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn serve(&self, stream: TcpStream) -> Option<()> {
        stream.set_nodelay(true).ok()?;
        let mut client = Connection::new(stream);
        while let Some(request) = client.request().ok()? {
            let now = Instant::now();
            let path = request.path.as_str();
            if path.ends_with("/invocation/next") {
                self.said.send(Said::Next(now)).ok()?;
                lock(&self.events).recv().ok()?;
                let headers = invocation();
                *lock(&self.handed_out) = Some(Instant::now());
                client.respond(200, &headers, &self.event).ok()?;
                continue;
            }
            let kind = if path.ends_with("/response") {
                "response"
            } else {
                "error"
            };
            client
                .respond(
                    202,
                    "Content-Type: application/json\r\n",
                    b"{\"status\":\"OK\"}",
                )
                .ok()?;
            let said = if path.ends_with("/init/error") {
                Said::NotStarted(String::from_utf8_lossy(&request.body).into_owned())
            } else {
                let body = request.body;
                Said::Answered(now, Answer { kind, body })
            };
            self.said.send(said).ok()?;
        }
        Some(())
    }
}

/// What Lambda says of an invocation.
fn invocation() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let deadline = (now.unwrap_or_default() + PATIENCE).as_millis();
    format!(
        "Content-Type: application/json\r\n\
         Lambda-Runtime-Aws-Request-Id: 8476a536-e9f4-11e8-9739-2dfe598c3fcd\r\n\
         Lambda-Runtime-Deadline-Ms: {deadline}\r\n\
         Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:us-east-1:123456789012:function:crew\r\n\
         Lambda-Runtime-Trace-Id: Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=0\r\n"
    )
}

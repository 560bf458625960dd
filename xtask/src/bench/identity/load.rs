//! A client that asks the same thing on several connections at once, as often as it gets answers. It knows HTTP/1.1 as far as that, and
//! not what it asks.
use anyhow::{Context, Result, bail};
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// How much is asked.
pub struct Load {
    pub connections: usize,
    pub time: Duration,
}

/// What is asked.
#[derive(Clone)]
pub struct Request {
    head: String,
    body: String,
}

impl Request {
    pub fn get(path: &str) -> Self {
        Request {
            head: format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n"),
            body: String::new(),
        }
    }

    /// Without a body.
    pub fn put(path: &str) -> Self {
        Request {
            head: format!("PUT {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n"),
            body: String::new(),
        }
    }

    /// With JSON.
    pub fn post(path: &str, body: &str) -> Self {
        let length = body.len();
        Request {
            head: format!(
                "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n"
            ),
            body: body.to_owned(),
        }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.head += &format!("{name}: {value}\r\n");
        self
    }

    fn bytes(&self) -> Vec<u8> {
        format!("{}\r\n{}", self.head, self.body).into_bytes()
    }
}

/// An answer.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// What came of a load.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    /// Answers a second.
    pub rate: f64,
    /// CPU of the service for each answer.
    pub cpu_ms: f64,
    pub database_ms: f64,
    pub median_ms: f64,
    /// 99 of 100 were not slower.
    pub slow_ms: f64,
}

/// Asks once.
pub fn once(address: SocketAddr, request: &Request) -> Result<Answer> {
    runtime()?.block_on(async {
        let mut connection = Connection::default();
        connection.ask(address, &request.bytes()).await
    })
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    // One thread: the service shall have the rest of the machine.
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?)
}

/// What each answer took, in seconds, and the time of all.
pub fn run(
    address: SocketAddr,
    load: &Load,
    request: &Request,
    status: u16,
) -> Result<(Vec<f64>, f64)> {
    let begun = Instant::now();
    let (until, bytes) = (begun + load.time, request.bytes());
    let all = runtime()?.block_on(async {
        let local = tokio::task::LocalSet::new();
        let workers: Vec<_> = (0..load.connections)
            .map(|_| local.spawn_local(worker(address, bytes.clone(), status, until)))
            .collect();
        local
            .run_until(async {
                let mut all = Vec::new();
                for one in workers {
                    all.extend(one.await??);
                }
                Ok::<_, anyhow::Error>(all)
            })
            .await
    })?;
    if all.is_empty() {
        bail!("no answer within {:?}", load.time);
    }
    Ok((all, begun.elapsed().as_secs_f64()))
}

async fn worker(
    address: SocketAddr,
    request: Vec<u8>,
    status: u16,
    until: Instant,
) -> Result<Vec<f64>> {
    let mut connection = Connection::default();
    let mut took = Vec::new();
    while Instant::now() < until {
        let begun = Instant::now();
        let answer = connection.ask(address, &request).await?;
        if answer.status != status {
            bail!(
                "status {}: {}",
                answer.status,
                String::from_utf8_lossy(&answer.body)
            );
        }
        took.push(begun.elapsed().as_secs_f64());
    }
    Ok(took)
}

#[derive(Default)]
struct Connection {
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
}

impl Connection {
    async fn ask(&mut self, address: SocketAddr, request: &[u8]) -> Result<Answer> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                none.insert(stream)
            }
        };
        stream.write_all(request).await?;
        self.buffer.clear();
        let head = loop {
            if let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("the connection was closed before an answer");
            }
        };
        let text = String::from_utf8_lossy(&self.buffer[..head]).into_owned();
        let status = text.split(' ').nth(1).and_then(|word| word.parse().ok());
        let mut answer = Answer {
            status: status.context("an answer without a status")?,
            head: text,
            body: Vec::new(),
        };
        let length = answer
            .header("content-length")
            .and_then(|text| text.parse::<usize>().ok());
        let close = answer
            .header("connection")
            .is_some_and(|text| text.eq_ignore_ascii_case("close"));
        match length {
            Some(length) => {
                while self.buffer.len() < head + length {
                    if stream.read_buf(&mut self.buffer).await? == 0 {
                        bail!("the connection was closed within an answer");
                    }
                }
            }
            // Without a length it ends with the connection.
            None if close => while stream.read_buf(&mut self.buffer).await? != 0 {},
            None => {}
        }
        answer.body = self.buffer[head..].to_vec();
        if close {
            self.stream = None;
        }
        Ok(answer)
    }
}

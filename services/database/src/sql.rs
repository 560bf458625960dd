//! Just enough of MariaDB's protocol to ask the local server: connect by its Unix socket as root (plugin
//! `unix_socket`), send a statement, read rows of text. Everything is bounded in size and time, as a server that is
//! frozen or half dead must not take the guard with it. Knows no statement.
//!
//! The database libraries in the workspace know neither this plugin nor, in the way they set up a connection, a
//! server that refuses everything but `SHOW`.
//! Protocol: <https://mariadb.com/kb/en/clientserver-protocol/>.

use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufStream};
use tokio::net::UnixStream;

/// Longest packet that is read: the longest variable (`wsrep_provider_options`) has some 5 KiB.
const LONGEST_PACKET: usize = 64 * 1024;
/// Most columns and rows that are read.
const MOST_COLUMNS: u64 = 16;
const MOST_ROWS: usize = 2000;

// Capabilities of the handshake.
const LONG_PASSWORD: u32 = 1;
const PROTOCOL_41: u32 = 1 << 9;
const TRANSACTIONS: u32 = 1 << 13;
const SECURE_CONNECTION: u32 = 1 << 15;
const PLUGIN_AUTH: u32 = 1 << 19;
/// utf8mb4_general_ci
const CHARSET: u8 = 45;

/// Why a question got no answer.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// Nobody listens at the socket.
    #[error("cannot connect to `{path}`: {source}")]
    Connect {
        /// The socket.
        path: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Io(#[from] std::io::Error),
    /// The server did not answer in time.
    #[error("no answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// The server answered with an error.
    #[error("error {code}: {message}")]
    Server {
        /// MariaDB's number.
        code: u16,
        /// Its words.
        message: String,
    },
    /// What came is not the protocol.
    #[error("unexpected answer: {0}")]
    Protocol(&'static str),
}

/// A row of text values; `None`: NULL.
pub type Row = Vec<Option<String>>;

/// A connection to the server.
pub struct Connection<S = UnixStream> {
    stream: BufStream<S>,
    sequence: u8,
}

impl Connection {
    /// Connects as `user`, whom the server knows by the socket's credentials.
    pub async fn open(socket: &Path, user: &str, limit: Duration) -> Result<Self, SqlError> {
        let connect = async {
            let stream = UnixStream::connect(socket)
                .await
                .map_err(|source| SqlError::Connect {
                    path: socket.display().to_string(),
                    source,
                })?;
            Connection::over(stream, user).await
        };
        tokio::time::timeout(limit, connect)
            .await
            .map_err(|_| SqlError::Timeout(limit))?
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Greets over an open stream.
    pub async fn over(stream: S, user: &str) -> Result<Self, SqlError> {
        let mut connection = Self {
            stream: BufStream::new(stream),
            sequence: 0,
        };
        let greeting = connection.read().await?;
        match greeting.first() {
            Some(10) => {}
            Some(0xff) => return Err(server_error(&greeting)),
            _ => return Err(SqlError::Protocol("no greeting of version 10")),
        }
        connection.write(&hello(user)).await?;
        loop {
            let answer = connection.read().await?;
            match answer.first() {
                Some(0x00) => return Ok(connection),
                Some(0xff) => return Err(server_error(&answer)),
                // AuthSwitchRequest: no secret is needed for `unix_socket`, and there is none for anything else.
                Some(0xfe) if answer.len() > 1 => connection.write(&[]).await?,
                _ => return Err(SqlError::Protocol("an unknown step of authentication")),
            }
        }
    }

    /// Sends a statement and reads its rows; none for a statement without a result.
    pub async fn query(&mut self, statement: &str, limit: Duration) -> Result<Vec<Row>, SqlError> {
        tokio::time::timeout(limit, self.run(statement))
            .await
            .map_err(|_| SqlError::Timeout(limit))?
    }

    async fn run(&mut self, statement: &str) -> Result<Vec<Row>, SqlError> {
        const COM_QUERY: u8 = 3;
        self.sequence = 0;
        let mut packet = vec![COM_QUERY];
        packet.extend_from_slice(statement.as_bytes());
        self.write(&packet).await?;
        let head = self.read().await?;
        match head.first() {
            Some(0x00) => return Ok(Vec::new()),
            Some(0xff) => return Err(server_error(&head)),
            _ => {}
        }
        let mut rest = head.as_slice();
        let columns = length(&mut rest)
            .filter(|columns| (1..=MOST_COLUMNS).contains(columns))
            .ok_or(SqlError::Protocol("a strange number of columns"))?;
        for _ in 0..columns {
            self.read().await?;
        }
        if !is_end(&self.read().await?) {
            return Err(SqlError::Protocol("no end of the columns"));
        }
        let mut rows = Vec::new();
        loop {
            let packet = self.read().await?;
            if is_end(&packet) {
                return Ok(rows);
            }
            if packet.first() == Some(&0xff) {
                return Err(server_error(&packet));
            }
            if rows.len() == MOST_ROWS {
                return Err(SqlError::Protocol("too many rows"));
            }
            rows.push(row(&packet, columns).ok_or(SqlError::Protocol("a broken row"))?);
        }
    }

    async fn read(&mut self) -> Result<Vec<u8>, SqlError> {
        let mut head = [0; 4];
        self.stream.read_exact(&mut head).await?;
        let length = usize::from(head[0]) | usize::from(head[1]) << 8 | usize::from(head[2]) << 16;
        if length > LONGEST_PACKET {
            return Err(SqlError::Protocol("a packet that is too long"));
        }
        if head[3] != self.sequence {
            return Err(SqlError::Protocol("a packet out of order"));
        }
        self.sequence = self.sequence.wrapping_add(1);
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await?;
        Ok(body)
    }

    async fn write(&mut self, body: &[u8]) -> Result<(), SqlError> {
        let [a, b, c, _] = u32::try_from(body.len())
            .ok()
            .filter(|_| body.len() <= LONGEST_PACKET)
            .ok_or(SqlError::Protocol("a statement that is too long"))?
            .to_le_bytes();
        self.stream.write_all(&[a, b, c, self.sequence]).await?;
        self.sequence = self.sequence.wrapping_add(1);
        self.stream.write_all(body).await?;
        self.stream.flush().await?;
        Ok(())
    }
}

/// HandshakeResponse41 without a password.
fn hello(user: &str) -> Vec<u8> {
    let capabilities = LONG_PASSWORD | PROTOCOL_41 | TRANSACTIONS | SECURE_CONNECTION | PLUGIN_AUTH;
    let mut packet = Vec::new();
    packet.extend_from_slice(&capabilities.to_le_bytes());
    packet.extend_from_slice(&(LONGEST_PACKET as u32).to_le_bytes());
    packet.push(CHARSET);
    packet.extend_from_slice(&[0; 23]);
    packet.extend_from_slice(user.as_bytes());
    packet.push(0);
    // The length of a password's answer.
    packet.push(0);
    packet.extend_from_slice(b"mysql_native_password\0");
    packet
}

fn is_end(packet: &[u8]) -> bool {
    packet.first() == Some(&0xfe) && packet.len() < 9
}

/// ERR packet: 0xff, number, `#` and five characters of SQL state, message.
fn server_error(packet: &[u8]) -> SqlError {
    let code = match packet {
        [_, low, high, ..] => u16::from_le_bytes([*low, *high]),
        _ => 0,
    };
    let message = packet.get(3..).unwrap_or_default();
    let message = match message {
        [b'#', _, _, _, _, _, rest @ ..] => rest,
        other => other,
    };
    SqlError::Server {
        code,
        message: String::from_utf8_lossy(message).chars().take(500).collect(),
    }
}

/// A length-encoded integer, taken from the front.
fn length(bytes: &mut &[u8]) -> Option<u64> {
    let (first, rest) = bytes.split_first()?;
    let size = match first {
        0..=0xfa => {
            *bytes = rest;
            return Some(u64::from(*first));
        }
        0xfc => 2,
        0xfd => 3,
        0xfe => 8,
        _ => return None,
    };
    let (number, rest) = rest.split_at_checked(size)?;
    *bytes = rest;
    Some(
        number
            .iter()
            .rev()
            .fold(0, |n, byte| n << 8 | u64::from(*byte)),
    )
}

fn row(mut packet: &[u8], columns: u64) -> Option<Row> {
    let mut values = Vec::new();
    for _ in 0..columns {
        if packet.first() == Some(&0xfb) {
            packet = packet.get(1..)?;
            values.push(None);
            continue;
        }
        let size = usize::try_from(length(&mut packet)?).ok()?;
        let (value, rest) = packet.split_at_checked(size)?;
        packet = rest;
        values.push(Some(String::from_utf8_lossy(value).into_owned()));
    }
    packet.is_empty().then_some(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packet(sequence: u8, body: &[u8]) -> Vec<u8> {
        let mut out = vec![body.len() as u8, 0, 0, sequence];
        out.extend_from_slice(body);
        out
    }

    /// What a server says, from greeting to rows; what the client says is thrown away.
    async fn session(server: Vec<u8>) -> Result<Vec<Row>, SqlError> {
        let (mut far, near) = tokio::io::duplex(1 << 16);
        far.write_all(&server).await.unwrap();
        // The far side stays open for reading what is sent, but says no more.
        let (mut reader, mut writer) = tokio::io::split(far);
        writer.shutdown().await.unwrap();
        tokio::spawn(async move { tokio::io::copy(&mut reader, &mut tokio::io::sink()).await });
        let mut connection = Connection::over(near, "root").await?;
        connection
            .query("SHOW STATUS", Duration::from_secs(1))
            .await
    }

    fn greeting() -> Vec<u8> {
        packet(0, b"\x0a10.11.19-MariaDB\0rest")
    }

    #[tokio::test]
    async fn reads_rows_after_the_socket_said_who_asks() {
        let mut server = greeting();
        server.extend(packet(2, b"\xfeunix_socket\0"));
        server.extend(packet(4, b"\0\0\0\x02\0\0\0"));
        server.extend(packet(1, b"\x02"));
        server.extend(packet(2, b"column"));
        server.extend(packet(3, b"column"));
        server.extend(packet(4, b"\xfe\0\0\x02\0"));
        server.extend(packet(5, b"\x0bwsrep_ready\x02ON"));
        server.extend(packet(6, b"\x01x\xfb"));
        server.extend(packet(7, b"\xfe\0\0\x02\0"));
        let rows = session(server).await.unwrap();
        let expected: Vec<Row> = vec![
            vec![Some("wsrep_ready".to_owned()), Some("ON".to_owned())],
            vec![Some("x".to_owned()), None],
        ];
        assert_eq!(rows, expected);
    }

    #[tokio::test]
    async fn tells_the_servers_own_error() {
        let error = session(packet(0, b"\xff\x10\x04#08004Too many connections"))
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "error 1040: Too many connections");
    }

    #[tokio::test]
    async fn a_silent_server_costs_no_more_than_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let _listener = tokio::net::UnixListener::bind(&path).unwrap();
        let error = Connection::open(&path, "root", Duration::from_millis(50)).await;
        assert!(matches!(error.err(), Some(SqlError::Timeout(_))));
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_rows_or_an_error(noise in proptest::collection::vec(any::<u8>(), 0..300), sequence in 0u8..4) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let mut server = greeting();
            server.extend(packet(2, b"\0\0\0\x02\0\0\0"));
            server.extend(packet(sequence, &noise[..noise.len().min(200)]));
            server.extend(&noise);
            let _ = runtime.block_on(session(server));
            let _ = runtime.block_on(session(noise));
        }

        #[test]
        fn any_row_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..100), columns in 1u64..5) {
            if let Some(values) = row(&bytes, columns) {
                prop_assert_eq!(values.len() as u64, columns);
            }
        }
    }
}

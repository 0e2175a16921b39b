//! The messages of PostgreSQL's protocol on a connection. What clients send is read with every length checked; what they are sent
//! is written by pgwire.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use pgwire::error::ErrorInfo;
use pgwire::messages::PgWireBackendMessage;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Bytes of a message, at most: as of a body of the HTTP API.
const MAX_MESSAGE: usize = 1 << 20;
/// Bytes of the messages before a client is known, at most.
const MAX_STARTUP: usize = 10_000;
/// Bytes that are written at once.
const BUFFER: usize = 64 << 10;

const SSL: u32 = 80_877_103;
const GSS: u32 = 80_877_104;
const CANCEL: u32 = 80_877_102;

/// The first message of a client.
#[derive(Debug, PartialEq)]
pub enum Hello {
    /// It wants TLS.
    Tls,
    /// It wants GSSAPI's encryption.
    Gss,
    /// It wants the query of another connection ended.
    Cancel(i32, i32),
    /// It begins, with a version and settings.
    Startup(u32, Vec<(String, String)>),
}

/// What a client sends once it has begun.
#[derive(Debug, PartialEq)]
pub enum Request {
    Query(String),
    Parse {
        name: String,
        text: String,
        types: Vec<u32>,
    },
    Bind {
        portal: String,
        statement: String,
        formats: Vec<i16>,
        parameters: Vec<Option<Bytes>>,
        wanted: Vec<i16>,
    },
    Describe {
        portal: bool,
        name: String,
    },
    Execute {
        portal: String,
        rows: usize,
    },
    Close {
        portal: bool,
        name: String,
    },
    Sync,
    Flush,
    Password(String),
    Terminate,
    /// Data of a COPY that nobody began.
    Copy,
}

/// A connection.
pub struct Wire<S> {
    socket: S,
    input: BytesMut,
    output: BytesMut,
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// A connection on which nothing was said.
    pub fn new(socket: S) -> Self {
        Wire { socket, input: BytesMut::new(), output: BytesMut::new() }
    }

    /// The socket alone; what was read already must have been understood.
    ///
    /// # Errors
    /// When the client has sent more than it should have yet.
    pub fn into_socket(self) -> io::Result<S> {
        if self.input.is_empty() { Ok(self.socket) } else { Err(broken("there is data before the TLS handshake")) }
    }

    /// The first message.
    ///
    /// # Errors
    /// When it is none.
    pub async fn hello(&mut self) -> io::Result<Hello> {
        let mut body = self.body(0, MAX_STARTUP).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        match body.number()? {
            SSL => Ok(Hello::Tls),
            GSS => Ok(Hello::Gss),
            CANCEL => Ok(Hello::Cancel(body.number()? as i32, body.number()? as i32)),
            version => {
                let mut settings = vec![];
                while body.remaining() > 1 {
                    settings.push((body.text()?, body.text()?));
                }
                Ok(Hello::Startup(version, settings))
            }
        }
    }

    /// The next message; none when the client has gone. It can be given up at any time, and loses nothing.
    ///
    /// # Errors
    /// When it is none, or too long.
    pub async fn next(&mut self, known: bool) -> io::Result<Option<Request>> {
        let limit = if known { MAX_MESSAGE } else { MAX_STARTUP };
        while self.input.is_empty() {
            if self.socket.read_buf(&mut self.input).await? == 0 {
                return Ok(None);
            }
        }
        let kind = self.input[0];
        self.body(1, limit).await?.map(|body| request(kind, body)).transpose()
    }

    /// The rest of a message whose length comes after some bytes.
    async fn body(&mut self, at: usize, limit: usize) -> io::Result<Option<Bytes>> {
        loop {
            if let Some(length) = self.input.get(at..at + 4) {
                let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
                if !(4..=limit).contains(&length) {
                    return Err(broken(&format!("a message of {length} bytes; from 4 to {limit} are accepted")));
                }
                if self.input.len() >= at + length {
                    let mut message = self.input.split_to(at + length).freeze();
                    message.advance(at + 4);
                    return Ok(Some(message));
                }
            }
            if self.socket.read_buf(&mut self.input).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Writes a message, sooner or later.
    ///
    /// # Errors
    /// When the client has gone.
    pub async fn send(&mut self, message: PgWireBackendMessage) -> io::Result<()> {
        message.encode(&mut self.output).map_err(io::Error::other)?;
        if self.output.len() >= BUFFER { self.flush().await } else { Ok(()) }
    }

    /// Writes an error or a notice.
    ///
    /// # Errors
    /// When the client has gone.
    pub async fn tell(&mut self, what: ErrorInfo) -> io::Result<()> {
        let is_error = matches!(what.severity.as_str(), "ERROR" | "FATAL");
        self.send(if is_error { PgWireBackendMessage::ErrorResponse(what.into()) } else { PgWireBackendMessage::NoticeResponse(what.into()) }).await
    }

    /// Writes bytes, for instance whether there is TLS.
    ///
    /// # Errors
    /// When the client has gone.
    pub async fn byte(&mut self, byte: u8) -> io::Result<()> {
        self.socket.write_all(&[byte]).await?;
        self.socket.flush().await
    }

    /// Writes what was not written yet.
    ///
    /// # Errors
    /// When the client has gone.
    pub async fn flush(&mut self) -> io::Result<()> {
        while !self.output.is_empty() {
            if self.socket.write_buf(&mut self.output).await? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        self.socket.flush().await
    }

    /// Ends the connection.
    pub async fn close(mut self) {
        let _ = self.flush().await;
        let _ = self.socket.shutdown().await;
    }
}

fn request(kind: u8, mut body: Bytes) -> io::Result<Request> {
    let request = match kind {
        b'Q' => Request::Query(body.text()?),
        b'P' => Request::Parse { name: body.text()?, text: body.text()?, types: body.list(Read::number)? },
        b'B' => Request::Bind {
            portal: body.text()?,
            statement: body.text()?,
            formats: body.list(Read::short)?,
            parameters: body.list(Read::value)?,
            wanted: body.list(Read::short)?,
        },
        b'D' => Request::Describe { portal: body.of_portal()?, name: body.text()? },
        b'E' => Request::Execute { portal: body.text()?, rows: usize::try_from(body.number()? as i32).unwrap_or(0) },
        b'C' => Request::Close { portal: body.of_portal()?, name: body.text()? },
        b'S' => Request::Sync,
        b'H' => Request::Flush,
        b'p' => Request::Password(body.text()?),
        b'X' => Request::Terminate,
        b'd' | b'c' | b'f' => Request::Copy,
        other => return Err(broken(&format!("there is no message of type {other}"))),
    };
    Ok(request)
}

/// Reading from a message that may be cut.
trait Read {
    fn number(&mut self) -> io::Result<u32>;
    fn short(&mut self) -> io::Result<i16>;
    fn text(&mut self) -> io::Result<String>;
    fn value(&mut self) -> io::Result<Option<Bytes>>;
    fn of_portal(&mut self) -> io::Result<bool>;
    fn list<T>(&mut self, item: impl Fn(&mut Self) -> io::Result<T>) -> io::Result<Vec<T>>;
}

impl Read for Bytes {
    fn number(&mut self) -> io::Result<u32> {
        self.try_get_u32().map_err(|_| broken("a message is cut"))
    }

    fn short(&mut self) -> io::Result<i16> {
        self.try_get_i16().map_err(|_| broken("a message is cut"))
    }

    fn text(&mut self) -> io::Result<String> {
        let end = self.iter().position(|b| *b == 0).ok_or_else(|| broken("a text does not end"))?;
        let text = String::from_utf8(self.split_to(end).to_vec()).map_err(|_| broken("a text is not UTF-8"))?;
        self.advance(1);
        Ok(text)
    }

    fn value(&mut self) -> io::Result<Option<Bytes>> {
        let Ok(length) = usize::try_from(self.number()? as i32) else { return Ok(None) };
        if length > self.len() { Err(broken("a message is cut")) } else { Ok(Some(self.split_to(length))) }
    }

    fn of_portal(&mut self) -> io::Result<bool> {
        match self.try_get_u8() {
            Ok(b'P') => Ok(true),
            Ok(b'S') => Ok(false),
            _ => Err(broken("what is meant is neither a statement nor a portal")),
        }
    }

    fn list<T>(&mut self, item: impl Fn(&mut Self) -> io::Result<T>) -> io::Result<Vec<T>> {
        let count = self.short()? as u16;
        (0..count).map(|_| item(self)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(bytes: &[u8]) -> io::Result<Option<Request>> {
        Wire::new(io::Cursor::new(bytes.to_vec())).next(true).await
    }

    #[tokio::test]
    async fn whole_messages_are_read() {
        assert_eq!(read(b"Q\0\0\0\x0dSELECT 1\0").await.expect("a message"), Some(Request::Query("SELECT 1".into())));
        assert_eq!(read(b"S\0\0\0\x04").await.expect("a message"), Some(Request::Sync));
        assert_eq!(read(b"").await.expect("the end"), None);
        let bind = b"B\0\0\0\x19p\0s\0\0\x01\0\x01\0\x02\0\0\0\x01a\xff\xff\xff\xff\0\0";
        let expected = Request::Bind {
            portal: "p".into(),
            statement: "s".into(),
            formats: vec![1],
            parameters: vec![Some(Bytes::from_static(b"a")), None],
            wanted: vec![],
        };
        assert_eq!(read(bind).await.expect("a message"), Some(expected));
    }

    #[tokio::test]
    async fn cut_and_wrong_messages_are_errors() {
        for wrong in [
            &b"Q\0\0\0\x03"[..],
            b"Q\x7f\0\0\0",
            b"Q\0\0\0\x06ab",
            b"P\0\0\0\x08a\0b\0",
            b"P\0\0\0\x0aa\0b\0\0\x09",
            b"B\0\0\0\x0cp\0s\0\0\0\0\x01",
            b"B\0\0\0\x10p\0s\0\0\0\0\x01\0\0\0\x09",
            b"D\0\0\0\x06?\0",
            b"Q\0\0\0\x06\xff\0",
            b"?\0\0\0\x04",
        ] {
            assert!(read(wrong).await.is_err(), "{wrong:?}");
        }
        // The client goes in the midst of one.
        assert_eq!(read(b"Q\0\0\0\x09SEL").await.expect("the end"), None);
    }
}

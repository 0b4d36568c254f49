//! What a connection's bytes say about message framing that hyper's parsed request no longer shows.
//!
//! hyper repairs what RFC 9112 lets it repair: `Content-Length` beside `Transfer-Encoding` is dropped, lines ended by a
//! bare LF are accepted, a fragment of the request target is cut off. Each is harmless alone and is how two parsers in
//! a row are made to disagree, so the bytes are read alongside, and a connection on which anything has two readings is
//! marked: the request is answered 400 and the connection closed.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

/// A line longer than this is no line of an acceptable head.
const MAX_LINE_BYTES: usize = 32 * 1024;
/// What is kept of a line: more than a line whose value matters may have.
const KEPT_BYTES: usize = 256;

/// Something in the bytes has more than one reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ambiguous;

/// Follows the messages of one connection, strictly and in constant space: hyper holds the bytes already. Never more
/// lenient than hyper: what it accepts, hyper frames alike.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    state: State,
    line: Line,
}

/// What is known of the line that is arriving.
#[derive(Debug)]
struct Line {
    /// Its first bytes; those from `length` on mean nothing.
    start: [u8; KEPT_BYTES],
    length: usize,
    last: u8,
    has_fragment: bool,
}

impl Default for Line {
    fn default() -> Self {
        Self { start: [0; KEPT_BYTES], length: 0, last: 0, has_fragment: false }
    }
}

impl Line {
    fn push(&mut self, bytes: &[u8]) {
        let room = self.start.iter_mut().skip(self.length);
        room.zip(bytes).for_each(|(slot, byte)| *slot = *byte);
        self.length = self.length.saturating_add(bytes.len());
        self.last = bytes.last().copied().unwrap_or(self.last);
        self.has_fragment |= memchr::memchr(b'#', bytes).is_some();
    }

    /// Without its CR, which has arrived: as much as was kept, and whether that is all.
    fn text(&self) -> (&[u8], bool) {
        let length = self.length.saturating_sub(1);
        (self.start.get(..length).unwrap_or(&self.start), length <= KEPT_BYTES)
    }

    /// A line that matters to its last byte.
    fn whole(&self) -> Result<&[u8], Ambiguous> {
        let (text, whole) = self.text();
        if whole { Ok(text) } else { Err(Ambiguous) }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    RequestLine,
    Header {
        length: Option<u64>,
        chunked: bool,
    },
    Body(u64),
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    Trailer,
}

impl Scanner {
    /// Reads what arrived.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) -> Result<(), Ambiguous> {
        while !bytes.is_empty() {
            if let State::Body(left) | State::ChunkData(left) = self.state {
                let step = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
                bytes = bytes.get(step..).unwrap_or_default();
                let left = left - step as u64;
                self.state = match self.state {
                    State::ChunkData(_) if left == 0 => State::ChunkEnd,
                    State::ChunkData(_) => State::ChunkData(left),
                    _ if left == 0 => State::RequestLine,
                    _ => State::Body(left),
                };
                continue;
            }
            let Some(end) = memchr::memchr(b'\n', bytes) else {
                self.line.push(bytes);
                return if self.line.length > MAX_LINE_BYTES { Err(Ambiguous) } else { Ok(()) };
            };
            let (line, rest) = bytes.split_at(end);
            bytes = rest.get(1..).unwrap_or_default();
            self.line.push(line);
            self.state = after_line(self.state, &self.line)?;
            self.line = Line::default();
        }
        Ok(())
    }

    /// Whether a head has begun and not ended.
    pub(crate) fn inside_head(&self) -> bool {
        match self.state {
            State::Header { .. } => true,
            State::RequestLine => self.line.length > 0,
            _ => false,
        }
    }
}

/// `line` is without its LF.
fn after_line(state: State, line: &Line) -> Result<State, Ambiguous> {
    if line.last != b'\r' {
        return Err(Ambiguous);
    }
    let is_empty = line.length == 1;
    match state {
        // Empty lines before a request are ignored (RFC 9112 §2.2); one ends a trailer section.
        State::RequestLine | State::Trailer if is_empty => Ok(State::RequestLine),
        State::RequestLine if line.has_fragment => Err(Ambiguous),
        State::RequestLine => Ok(State::Header { length: None, chunked: false }),
        State::Header { length, chunked } if is_empty => Ok(match (chunked, length) {
            (true, _) => State::ChunkSize,
            (false, None | Some(0)) => State::RequestLine,
            (false, Some(length)) => State::Body(length),
        }),
        State::Header { length, chunked } => after_header(length, chunked, line),
        State::ChunkSize => match chunk_size(line.whole()?)? {
            0 => Ok(State::Trailer),
            size => Ok(State::ChunkData(size)),
        },
        State::ChunkEnd if is_empty => Ok(State::ChunkSize),
        State::ChunkEnd => Err(Ambiguous),
        State::Trailer | State::Body(_) | State::ChunkData(_) => Ok(state),
    }
}

/// RFC 9112 §6.1 and §6.3: one length, or one coding, and not both.
fn after_header(length: Option<u64>, chunked: bool, line: &Line) -> Result<State, Ambiguous> {
    let same = Ok(State::Header { length, chunked });
    let (text, whole) = line.text();
    match text.first() {
        // Continuation of the previous line (RFC 9112 §5.2).
        Some(b' ' | b'\t') => return Err(Ambiguous),
        Some(b'c' | b'C' | b't' | b'T') => {}
        _ => return same,
    }
    let Some(colon) = memchr::memchr(b':', text) else { return same };
    let (name, value) = text.split_at(colon);
    let value = value.get(1..).unwrap_or_default().trim_ascii();
    if name.eq_ignore_ascii_case(b"content-length") {
        if !whole || chunked || length.is_some() || value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
            return Err(Ambiguous);
        }
        let length = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).ok_or(Ambiguous)?;
        Ok(State::Header { length: Some(length), chunked })
    } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
        let alone = whole && !chunked && length.is_none() && value.eq_ignore_ascii_case(b"chunked");
        if alone { Ok(State::Header { length, chunked: true }) } else { Err(Ambiguous) }
    } else {
        same
    }
}

/// RFC 9112 §7.1, without the white space that some recipients drop and others do not.
fn chunk_size(line: &[u8]) -> Result<u64, Ambiguous> {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
    let plain = !digits.is_empty() && digits.len() <= 16 && digits.iter().all(u8::is_ascii_hexdigit);
    if !plain || line.contains(&b'\r') {
        return Err(Ambiguous);
    }
    std::str::from_utf8(digits).ok().and_then(|text| u64::from_str_radix(text, 16).ok()).ok_or(Ambiguous)
}

/// Whether a connection's bytes stayed unambiguous; shared with the service that answers on it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Framing(Arc<AtomicBool>);

impl Framing {
    /// Whether something that arrived has more than one reading.
    pub(crate) fn is_ambiguous(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// How long the two ends of a connection may keep us waiting.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// For the first byte of a connection.
    pub(crate) first_byte: Duration,
    /// From the first byte of a head to its last.
    pub(crate) head: Duration,
    /// For the peer to take what we write.
    pub(crate) write: Duration,
}

/// A connection whose inbound bytes are scanned, and that does not wait for ever.
pub(crate) struct Watched<Io> {
    io: Io,
    scanner: Option<Scanner>,
    framing: Framing,
    patience: Patience,
    /// Nothing has arrived yet.
    untouched: bool,
    /// For the next bytes of a head, or the first of all.
    head_deadline: Option<Pin<Box<Sleep>>>,
    write_deadline: Option<Pin<Box<Sleep>>>,
}

impl<Io> Watched<Io> {
    pub(crate) fn new(io: Io, patience: Patience) -> (Self, Framing) {
        let framing = Framing::default();
        let this = Self {
            io,
            scanner: Some(Scanner::default()),
            framing: framing.clone(),
            patience,
            untouched: true,
            head_deadline: Some(Box::pin(sleep(patience.first_byte))),
            write_deadline: None,
        };
        (this, framing)
    }

    /// After the first ambiguity nothing later can be framed: the mark stays and scanning ends.
    fn scan(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() && std::mem::take(&mut self.untouched) {
            self.head_deadline = None;
        }
        let Some(scanner) = &mut self.scanner else { return };
        if scanner.feed(bytes).is_err() {
            self.framing.0.store(true, Ordering::Relaxed);
            self.scanner = None;
            self.head_deadline = None;
        } else if !scanner.inside_head() {
            self.head_deadline = None;
        } else if self.head_deadline.is_none() {
            self.head_deadline = Some(Box::pin(sleep(self.patience.head)));
        }
    }

    fn after_write<T>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.write_deadline = None;
            return result;
        }
        let wait = self.patience.write;
        let deadline = self.write_deadline.get_or_insert_with(|| Box::pin(sleep(wait)));
        ready!(deadline.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Watched<Io> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        match Pin::new(&mut self.io).poll_read(cx, buf) {
            Poll::Ready(result) => {
                self.scan(buf.filled().get(before..).unwrap_or_default());
                Poll::Ready(result)
            }
            Poll::Pending => {
                let Some(deadline) = &mut self.head_deadline else { return Poll::Pending };
                ready!(deadline.as_mut().poll(cx));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Watched<Io> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.after_write(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write_vectored(cx, parts);
        self.after_write(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// The instant `wait` from now; at most a year, so that no configured time can overflow.
pub(crate) fn deadline_in(wait: Duration) -> Instant {
    const YEAR: Duration = Duration::from_hours(365 * 24);
    Instant::now() + wait.min(YEAR)
}

#[cfg(test)]
mod tests;

//! `text/event-stream` (WHATWG HTML §9.2.6), filtered event by event.

use super::{FilterError, ListFilter};

const BOM: &[u8] = b"\xef\xbb\xbf";

/// Filters a `text/event-stream` body as it passes, event by event. Comments between events pass at once; an event
/// passes when its blank line is complete. What is not rewritten passes byte for byte.
#[derive(Debug)]
pub struct SseFilter {
    filter: ListFilter,
    max_event_bytes: usize,
    /// The complete lines of the open event, with their terminators, and the open line.
    event: Vec<u8>,
    /// Where the open line begins in `event`.
    line_at: usize,
    /// The last byte was a CR that ended a line: an LF now would belong to it.
    after_cr: bool,
    /// Nothing has passed yet: a byte order mark may come, which clients strip.
    at_start: bool,
}

impl SseFilter {
    pub(super) fn new(filter: ListFilter, max_event_bytes: usize) -> Self {
        Self { filter, max_event_bytes, event: Vec::new(), line_at: 0, after_cr: false, at_start: true }
    }

    /// Takes what arrived; gives what may be sent on now. After an error the stream must end.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<u8>, FilterError> {
        let mut out = Vec::with_capacity(bytes.len());
        for &byte in bytes {
            self.take(byte, &mut out)?;
        }
        Ok(out)
    }

    /// The stream ended: gives what is left. An event without its blank line is filtered too, because some clients
    /// dispatch it.
    pub fn finish(mut self) -> Result<Vec<u8>, FilterError> {
        let mut out = Vec::new();
        self.close_event(&mut out)?;
        Ok(out)
    }

    fn take(&mut self, byte: u8, out: &mut Vec<u8>) -> Result<(), FilterError> {
        if std::mem::take(&mut self.after_cr) && byte == b'\n' {
            if self.event.is_empty() {
                // The line it belongs to has passed already.
                out.push(byte);
            } else {
                self.event.push(byte);
                self.line_at = self.event.len();
            }
            return Ok(());
        }
        if self.event.len() >= self.max_event_bytes {
            return Err(FilterError);
        }
        self.event.push(byte);
        if byte == b'\n' || byte == b'\r' {
            self.after_cr = byte == b'\r';
            self.close_line(out)?;
        }
        Ok(())
    }

    /// The open line has its terminator.
    fn close_line(&mut self, out: &mut Vec<u8>) -> Result<(), FilterError> {
        let line = without_terminator(self.event.get(self.line_at..).unwrap_or_default());
        let line = if self.at_start && self.line_at == 0 { line.strip_prefix(BOM).unwrap_or(line) } else { line };
        if line.is_empty() {
            return self.close_event(out);
        }
        if self.line_at == 0 && line.starts_with(b":") {
            self.pass(out);
        } else {
            self.line_at = self.event.len();
        }
        Ok(())
    }

    /// The open event is complete.
    fn close_event(&mut self, out: &mut Vec<u8>) -> Result<(), FilterError> {
        let lines: Vec<Line<'_>> = lines(&self.event, self.at_start).collect();
        let data: Vec<&[u8]> = lines.iter().filter_map(|line| line.data).collect();
        // An event without data is not dispatched; one with empty data only moves the client's place in the stream.
        let rewritten =
            if data.iter().all(|data| data.is_empty()) { None } else { self.filter.rewrite(&data.join(&b'\n'))? };
        match rewritten {
            None => self.pass(out),
            Some(message) => {
                let mut message = Some(message);
                for line in lines {
                    match line.data {
                        None => out.extend(line.raw),
                        Some(_) => {
                            for text in message.take().iter().flat_map(|message| message.split(|&b| b == b'\n')) {
                                out.extend(b"data: ");
                                out.extend(text);
                                out.extend(line.terminator());
                            }
                        }
                    }
                }
                self.event.clear();
                self.line_at = 0;
                self.at_start = false;
            }
        }
        Ok(())
    }

    fn pass(&mut self, out: &mut Vec<u8>) {
        self.at_start &= self.event.is_empty();
        out.append(&mut self.event);
        self.line_at = 0;
    }
}

/// One line of an event.
struct Line<'a> {
    /// With its terminator, as received.
    raw: &'a [u8],
    /// The value, if its field is `data`.
    data: Option<&'a [u8]>,
}

impl Line<'_> {
    /// What ended the line; `\n` for a last line that nothing ended.
    fn terminator(&self) -> &[u8] {
        let text = without_terminator(self.raw).len();
        match self.raw.get(text..) {
            Some(terminator) if !terminator.is_empty() => terminator,
            _ => b"\n",
        }
    }
}

fn lines(mut event: &[u8], at_start: bool) -> impl Iterator<Item = Line<'_>> {
    let mut at_start = at_start;
    std::iter::from_fn(move || {
        let end = match event.iter().position(|b| matches!(b, b'\n' | b'\r')) {
            Some(at) if event.get(at..at + 2) == Some(b"\r\n") => at + 2,
            Some(at) => at + 1,
            None => event.len(),
        };
        let (raw, rest) = event.split_at_checked(end).filter(|(raw, _)| !raw.is_empty())?;
        event = rest;
        let mut text = without_terminator(raw);
        if std::mem::take(&mut at_start) {
            text = text.strip_prefix(BOM).unwrap_or(text);
        }
        Some(Line { raw, data: data(text) })
    })
}

/// The value of a `data` field: after the colon and at most one space.
fn data(line: &[u8]) -> Option<&[u8]> {
    match line.strip_prefix(b"data")? {
        [] => Some(b""),
        [b':', b' ', value @ ..] | [b':', value @ ..] => Some(value),
        _ => None,
    }
}

fn without_terminator(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r\n").or_else(|| line.strip_suffix(b"\n")).or_else(|| line.strip_suffix(b"\r")).unwrap_or(line)
}

//! The bytes of a file as text: its encoding, its separator, and the line that a byte stands on.

use crate::error::{Error, Place, Result};

/// How many lines decide on the separator.
const LINES_LOOKED_AT: usize = 20;

/// How many bytes show what kind of file it is.
const LOOKED_AT: usize = 256;

/// A file's text, without a byte order mark.
pub(super) struct Source<'a> {
    pub(super) file: &'a str,
    pub(super) text: &'a str,
    pub(super) separator: u8,
    /// The byte that ends lines, the last one of CRLF.
    pub(super) newline: u8,
}

impl<'a> Source<'a> {
    pub(super) fn new(file: &'a str, bytes: &'a [u8]) -> Result<Self> {
        let fail = |problem: &str, remedy: &str| Err(Error::file(Place::file(file), problem, remedy));
        if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"\x1f\x8b") {
            return fail(
                "this is a spreadsheet or an archive, not a CSV file",
                "unpack it, or save the sheet as CSV (UTF-8)",
            );
        }
        if is_utf16(bytes) {
            return fail("the text is UTF-16", "save the file as UTF-8 (in a spreadsheet: \"CSV UTF-8\")");
        }
        if bytes.iter().take(LOOKED_AT).any(|&byte| byte == 0) {
            return fail("this is a binary file, not a CSV file", "save the table as CSV in UTF-8");
        }
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let line = line_at(bytes, error.valid_up_to());
                return Err(Error::file(
                    Place::file(file).line(line),
                    format!("the byte 0x{:02X} is not UTF-8", bytes[error.valid_up_to()]),
                    "save the file as UTF-8 (in a spreadsheet: \"CSV UTF-8\")",
                ));
            }
        };
        if text.trim().is_empty() {
            return fail("the file is empty", "give a CSV file: a line of column names, then one line for each time");
        }
        Ok(Self { file, text, separator: find_separator(text), newline: newline(bytes) })
    }

    /// The line, counted from 1, of the byte at `offset`.
    pub(super) fn line_at(&self, offset: usize) -> u64 {
        line_at(self.text.as_bytes(), offset)
    }

    pub(super) fn place(&self, offset: usize) -> Place {
        Place::file(self.file).line(self.line_at(offset))
    }

    /// The separator for messages.
    pub(super) fn separator_name(&self) -> String {
        if self.separator == b'\t' { "a tab".into() } else { format!("`{}`", char::from(self.separator)) }
    }
}

/// Whether there is a byte order mark of UTF-16, or a zero byte in most pairs, as letters and digits have it there.
fn is_utf16(bytes: &[u8]) -> bool {
    let start = &bytes[..bytes.len().min(LOOKED_AT)];
    let zeros = |from: usize| start.iter().skip(from).step_by(2).filter(|&&byte| byte == 0).count();
    let one_sided = zeros(0).min(zeros(1)) == 0 && zeros(0).max(zeros(1)) > start.len() / 4;
    bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") || one_sided
}

fn newline(bytes: &[u8]) -> u8 {
    if bytes.contains(&b'\n') { b'\n' } else { b'\r' }
}

fn line_at(bytes: &[u8], offset: usize) -> u64 {
    let newline = newline(bytes);
    1 + bytes[..offset].iter().filter(|&&byte| byte == newline).count() as u64
}

/// The separator that the header has and that most of the first lines have equally often; the more frequent one among equals.
fn find_separator(text: &str) -> u8 {
    let candidates = [b',', b';', b'\t'];
    let lines = count_outside_quotes(text.trim_start(), candidates);
    let header = lines[0];
    let agreeing = |index: usize| lines.iter().filter(|counts| counts[index] == header[index]).count();
    (0..candidates.len())
        .filter(|&index| header[index] > 0)
        .max_by_key(|&index| (agreeing(index), header[index]))
        .map_or(b',', |index| candidates[index])
}

/// How often each of `bytes` stands outside quotes in each of the first lines.
fn count_outside_quotes(text: &str, bytes: [u8; 3]) -> Vec<[usize; 3]> {
    let mut lines = vec![[0; 3]];
    let (mut quoted, mut empty) = (false, true);
    for byte in text.bytes() {
        match byte {
            b'"' => quoted = !quoted,
            b'\n' | b'\r' if !quoted => {
                if !empty {
                    if lines.len() == LINES_LOOKED_AT {
                        break;
                    }
                    lines.push([0; 3]);
                    empty = true;
                }
                continue;
            }
            _ if !quoted => {
                if let Some(index) = bytes.iter().position(|&candidate| candidate == byte) {
                    lines.last_mut().expect("it starts with a line")[index] += 1;
                }
            }
            _ => {}
        }
        empty = false;
    }
    if empty && lines.len() > 1 {
        lines.pop();
    }
    lines
}

//! A kernel's text without comments and needless spaces, for a page that loads it; made while the crate is compiled.

/// Lines that `unroll.rs` reads.
const DIRECTIVES: [&[u8]; 2] = [b"// repeat ", b"// end"];

const fn begins(text: &[u8], at: usize, with: &[u8]) -> bool {
    let mut place = 0;
    while place < with.len() {
        if at + place >= text.len() || text[at + place] != with[place] {
            return false;
        }
        place += 1;
    }
    true
}

const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Writes as much of the bare text to `to` as that holds; its whole length.
const fn scan(text: &[u8], to: &mut [u8]) -> usize {
    let (mut at, mut len) = (0, 0);
    while at < text.len() {
        while at < text.len() && text[at] == b' ' {
            at += 1;
        }
        let directive = begins(text, at, DIRECTIVES[0]) || begins(text, at, DIRECTIVES[1]);
        // Of these `unroll.rs` reads every space.
        let whole = directive || begins(text, at, b"const ");
        let (mut end, mut last) = (at, at); // of what is kept of the line
        while end < text.len() && text[end] != b'\n' && (directive || !begins(text, end, b"//")) {
            if text[end] != b' ' {
                last = end + 1;
            }
            end += 1;
        }
        let empty = last == at;
        let first = at;
        while at < last {
            // A space is needed between two words, and in `- -1`.
            let kept = whole || text[at] != b' ' || at == first || {
                let (before, after) = (text[at - 1], text[at + 1]);
                before == after || is_word(before) && is_word(after)
            };
            if kept {
                if len < to.len() {
                    to[len] = text[at];
                }
                len += 1;
            }
            at += 1;
        }
        if !empty {
            if len < to.len() {
                to[len] = b'\n';
            }
            len += 1;
        }
        while end < text.len() && text[end] != b'\n' {
            end += 1;
        }
        at = end + 1;
    }
    len
}

/// Bytes of the bare text.
pub const fn len(text: &str) -> usize {
    scan(text.as_bytes(), &mut [])
}

/// The bare text, of `N` bytes.
pub const fn bytes<const N: usize>(text: &str) -> [u8; N] {
    let mut bare = [0; N];
    scan(text.as_bytes(), &mut bare);
    bare
}

/// The bytes as text.
pub const fn text(bytes: &'static [u8]) -> &'static str {
    match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) => panic!("a kernel's text beside its comments is ASCII"),
    }
}

/// The same while the tests run.
#[cfg(test)]
pub fn bared(text: &str) -> String {
    let mut bare = vec![0; len(text)];
    scan(text.as_bytes(), &mut bare);
    String::from_utf8(bare).expect("ASCII")
}

#[cfg(test)]
mod tests {
    use super::{bared, bytes, len, text};

    #[test]
    fn comments_and_indentation_go() {
        const TEXT: &str =
            "// σ(x)\n\nfn f() { // [N]\n    // why\n    // repeat R in N\n    s_R += a / b;  \n    // end\n}\n";
        static BARE: [u8; len(TEXT)] = bytes(TEXT);
        assert_eq!(text(&BARE), "fn f(){\n// repeat R in N\ns_R+=a/b;\n// end\n}\n");
        assert_eq!(len("a"), 2);
        assert_eq!(len("\n// b"), 0);
        assert_eq!(bared("const A = 1u;\nlet a_1 = - -b * (c - 1);\n"), "const A = 1u;\nlet a_1=- -b*(c-1);\n");
    }
}

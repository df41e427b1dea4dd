//! A Rust file's outline: its modules, and its text without comments and literals.
//!
//! Not a parser. It knows how comments and literals begin and end, so that what stands inside one is
//! never taken for code, and it follows braces. That is enough for every check here.

/// A `mod` item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Module {
    pub(crate) name: String,
    /// From 1.
    pub(crate) line: usize,
    /// The inline modules it stands in, outermost first.
    pub(crate) inside: Vec<String>,
    /// What a `#[path]` attribute says.
    pub(crate) path: Option<String>,
    /// Its contents are in another file.
    pub(crate) elsewhere: bool,
    /// `#[cfg(test)]`.
    pub(crate) for_tests: bool,
}

/// What the checks want to know of a file.
#[derive(Debug, Default)]
pub(crate) struct Outline {
    pub(crate) modules: Vec<Module>,
    /// How many lines stand in inline `#[cfg(test)]` modules.
    pub(crate) test_lines: usize,
    /// The file with every comment and literal blanked out; each byte where it was.
    pub(crate) code: String,
}

impl Outline {
    pub(crate) fn of(source: &str) -> Self {
        let code = blank(source);
        Scan::new(source, &code).run(code.clone())
    }
}

/// An inline module that is open.
struct Open {
    name: String,
    depth: usize,
    test_start: Option<usize>,
}

struct Scan<'a> {
    source: &'a str,
    code: &'a [u8],
    at: usize,
    depth: usize,
    open: Vec<Open>,
    attributes: Vec<String>,
    /// A `mod NAME` whose `;` or `{` has not come yet.
    pending: Option<String>,
    outline: Outline,
}

impl<'a> Scan<'a> {
    fn new(source: &'a str, code: &'a str) -> Self {
        Self {
            source,
            code: code.as_bytes(),
            at: 0,
            depth: 0,
            open: Vec::new(),
            attributes: Vec::new(),
            pending: None,
            outline: Outline::default(),
        }
    }

    fn run(mut self, code: String) -> Outline {
        while let Some(&byte) = self.code.get(self.at) {
            match byte {
                b'#' if self.code.get(self.at + 1) == Some(&b'[') => self.attribute(),
                b'{' => self.opened(),
                b'}' => self.closed(),
                b';' => self.ended(),
                _ if is_word(byte) => {
                    self.word();
                    continue;
                }
                _ => {}
            }
            self.at += 1;
        }
        self.outline.code = code;
        self.outline
    }

    fn line(&self) -> usize {
        1 + self.code[..self.at]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
    }

    /// Leaves `at` on the closing bracket.
    fn attribute(&mut self) {
        let start = self.at;
        let mut depth = 0;
        while let Some(byte) = self.code.get(self.at) {
            match byte {
                b'[' => depth += 1,
                b']' if depth == 1 => break,
                b']' => depth -= 1,
                _ => {}
            }
            self.at += 1;
        }
        self.attributes
            .push(self.source[start..self.at].replace(char::is_whitespace, ""));
    }

    fn opened(&mut self) {
        self.depth += 1;
        if let Some(name) = self.pending.take() {
            let module = self.module(name.clone(), false);
            let test_start = module.for_tests.then(|| self.line());
            self.open.push(Open {
                name,
                depth: self.depth,
                test_start,
            });
            self.outline.modules.push(module);
        }
        self.attributes.clear();
    }

    fn closed(&mut self) {
        if let Some(open) = self.open.pop_if(|open| open.depth == self.depth)
            && let Some(start) = open.test_start
        {
            self.outline.test_lines += self.line() + 1 - start;
        }
        self.depth = self.depth.saturating_sub(1);
        self.attributes.clear();
    }

    fn ended(&mut self) {
        if let Some(name) = self.pending.take() {
            let module = self.module(name, true);
            self.outline.modules.push(module);
        }
        self.attributes.clear();
    }

    fn module(&self, name: String, elsewhere: bool) -> Module {
        let path = self
            .attributes
            .iter()
            .find_map(|one| one.strip_prefix("#[path=\""));
        Module {
            name,
            line: self.line(),
            inside: self.open.iter().map(|open| open.name.clone()).collect(),
            path: path.map(|path| path.trim_end_matches('"').to_owned()),
            elsewhere,
            for_tests: self
                .attributes
                .iter()
                .any(|one| one.contains("cfg(test)") || one.contains("cfg(all(test")),
        }
    }

    fn word(&mut self) {
        let word = self.take_word();
        if word == "mod" {
            while self.code.get(self.at).is_some_and(u8::is_ascii_whitespace) {
                self.at += 1;
            }
            let name = self.take_word();
            self.pending = (!name.is_empty()).then_some(name);
        } else {
            self.pending = None;
        }
    }

    fn take_word(&mut self) -> String {
        let start = self.at;
        while self.code.get(self.at).is_some_and(|byte| is_word(*byte)) {
            self.at += 1;
        }
        String::from_utf8_lossy(&self.code[start..self.at]).into_owned()
    }
}

pub(crate) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii()
}

/// Blanks comments and literals, byte for byte; line breaks stay.
fn blank(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let after_word = at > 0 && is_word(bytes[at - 1]);
        let length = match bytes[at..] {
            [b'/', b'/', ..] => bytes[at..].iter().position(|byte| *byte == b'\n'),
            [b'/', b'*', ..] => block_comment(&bytes[at..]),
            [b'"', ..] => string(&bytes[at..]),
            [b'r', b'"' | b'#', ..] if !after_word || is_prefix(bytes, at) => {
                raw_string(&bytes[at..]).or(Some(0))
            }
            [b'\'', ..] if !after_word || is_prefix(bytes, at) => {
                character(&bytes[at..]).or(Some(0))
            }
            _ => Some(0),
        };
        let length = length.unwrap_or(bytes.len() - at);
        for byte in &mut code[at..at + length] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at += length.max(1);
    }
    // What is left of a character of several bytes is either all of it or nothing.
    String::from_utf8(code).unwrap()
}

/// Whether the word byte before `at` is the `b` or `c` of a literal, as in `br"…"` or `b'x'`.
fn is_prefix(bytes: &[u8], at: usize) -> bool {
    matches!(bytes[at - 1], b'b' | b'c') && (at == 1 || !is_word(bytes[at - 2]))
}

fn block_comment(bytes: &[u8]) -> Option<usize> {
    let mut depth = 0;
    let mut at = 0;
    while at + 1 < bytes.len() {
        match bytes[at..at + 2] {
            [b'/', b'*'] => depth += 1,
            [b'*', b'/'] if depth == 1 => return Some(at + 2),
            [b'*', b'/'] => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
    }
    None
}

fn string(bytes: &[u8]) -> Option<usize> {
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return Some(at + 1),
            _ => at += 1,
        }
    }
    None
}

/// `None` when it is none, such as the raw identifier `r#type`.
fn raw_string(bytes: &[u8]) -> Option<usize> {
    let hashes = bytes[1..].iter().take_while(|byte| **byte == b'#').count();
    if bytes.get(1 + hashes) != Some(&b'"') {
        return None;
    }
    let end = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
    let body = 2 + hashes;
    let length = bytes[body..]
        .windows(end.len())
        .position(|window| window == end);
    Some(length.map_or(bytes.len(), |length| body + length + end.len()))
}

/// `None` when it is a lifetime.
fn character(bytes: &[u8]) -> Option<usize> {
    if bytes.get(1) == Some(&b'\\') {
        let end = bytes[3..].iter().position(|byte| *byte == b'\'')?;
        return Some(3 + end + 1);
    }
    let text = std::str::from_utf8(&bytes[1..bytes.len().min(6)])
        .unwrap_or_else(|error| std::str::from_utf8(&bytes[1..=error.valid_up_to()]).unwrap());
    let length = text.chars().next()?.len_utf8();
    (bytes.get(1 + length) == Some(&b'\'')).then_some(length + 2)
}

#[test]
fn comments_and_literals_are_not_code() {
    let source = r####"
// mod a;
/* mod b; /* mod c; */ mod d; */
let x = "mod e; \" mod f;"; let y = r#"mod g; " mod h;"#; let z = br"mod i;";
let q = '"'; let l: &'static str = ""; let b = b'\''; let u = 'é'; let r#type = 1;
mod real;
"####;
    let outline = Outline::of(source);
    let names: Vec<&str> = outline
        .modules
        .iter()
        .map(|one| one.name.as_str())
        .collect();
    assert_eq!(names, ["real"]);
    assert_eq!(outline.modules[0].line, 6);
    assert_eq!(outline.code.len(), source.len());
    assert!(
        outline.code.contains("let l: &'static str"),
        "{}",
        outline.code
    );
}

#[test]
fn modules_are_found_with_their_places() {
    let outline = Outline::of(
        "pub(crate) mod a { mod b; }\n#[path = \"x/y.rs\"]\nmod c;\nfn f() { g(); }\n\
         #[cfg(test)]\nmod tests {\n    fn t() {}\n}\n#[cfg(test)]\nmod more;\n",
    );
    let shown: Vec<String> = outline
        .modules
        .iter()
        .map(|one| {
            let Module {
                name,
                line,
                inside,
                path,
                elsewhere,
                for_tests,
            } = one;
            format!("{name} {line} {inside:?} {path:?} {elsewhere} {for_tests}")
        })
        .collect();
    assert_eq!(
        shown,
        [
            "a 1 [] None false false",
            "b 1 [\"a\"] None true false",
            "c 3 [] Some(\"x/y.rs\") true false",
            "tests 6 [] None false true",
            "more 10 [] None true true",
        ]
    );
    assert_eq!(outline.test_lines, 3);
}

//! No two files of a crate use each other, neither directly nor through others.
//!
//! **Who uses whom.** The test reads each target of each package as text, from its root file along `mod x;`. A file uses another if a path
//! in it leads there: `crate::x::Y`, `super::x::Y`, `self::x::Y`, or `x::Y` of a module that the file declares, in a `use` or anywhere in
//! code. A path is followed to the file that *defines* the item, through re-exports and through a module's own imports, which its children
//! see too.
//!
//! **A module's file and its children.** Neither `mod x;` nor a re-export (`pub use x::Y`, with any visibility) of a name that the file
//! itself does not mention again counts: such a file is only a table of contents. A module's file has to be one of these, and never both:
//! - *below* its children: it defines what they share, they take it by `super::Y`, and it uses none of them; or
//! - *above* them: it uses them, and they take nothing that it defines.
//!
//! **What is not counted.** Inline modules under `#[cfg(test)]`, since a test may use anything and nothing depends on it. Documentation.
//! Methods: their callers name the type, not the file of the `impl`. Paths in string literals, such as serde's `with`.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use cargo_metadata::MetadataCommand;

use crate::root;

/// The files of a circle.
type Circle = BTreeSet<PathBuf>;

/// A path in code from the crate's root: `["aws", "key", "Store"]`.
type Names = Vec<String>;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Text(String),
    /// `::`.
    Path,
    Mark(char),
}

/// The code without comments, each token with its line. Characters and lifetimes are left out, and raw identifiers lose their `r#`.
fn tokens(text: &str) -> Vec<(Token, usize)> {
    let source: Vec<char> = text.chars().collect();
    let at = |place: usize| source.get(place).copied().unwrap_or('\0');
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let (mut found, mut place, mut line) = (Vec::new(), 0, 1);
    while place < source.len() {
        let start = place;
        let begun = line;
        match at(place) {
            '/' if at(place + 1) == '/' => {
                while place < source.len() && at(place) != '\n' {
                    place += 1;
                }
            }
            '/' if at(place + 1) == '*' => {
                let mut depth = 0;
                loop {
                    match (at(place), at(place + 1)) {
                        ('/', '*') => (depth, place) = (depth + 1, place + 2),
                        ('*', '/') => (depth, place) = (depth - 1, place + 2),
                        _ => place += 1,
                    }
                    if depth == 0 || place >= source.len() {
                        break;
                    }
                }
            }
            '"' => {
                place += 1;
                while place < source.len() && at(place) != '"' {
                    place += if at(place) == '\\' { 2 } else { 1 };
                }
                place += 1;
                let inside = source.get(start + 1..place - 1).unwrap_or_default();
                found.push((Token::Text(inside.iter().collect()), begun));
            }
            // A character, or a lifetime, which has no second quote.
            '\'' if at(place + 1) == '\\' => {
                place += 3;
                while place < source.len() && at(place) != '\'' {
                    place += 1;
                }
                place += 1;
            }
            '\'' if at(place + 2) == '\'' => place += 3,
            '\'' => {
                place += 1;
                while is_word(at(place)) {
                    place += 1;
                }
            }
            ':' if at(place + 1) == ':' => {
                place += 2;
                found.push((Token::Path, begun));
            }
            c if is_word(c) => {
                while is_word(at(place)) {
                    place += 1;
                }
                let word: String = source[start..place].iter().collect();
                let hashes = (place..).take_while(|place| at(*place) == '#').count();
                if matches!(word.as_str(), "r" | "br" | "cr") && at(place + hashes) == '"' {
                    let end: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
                    place += hashes + 1;
                    while place < source.len() && !source[place..].starts_with(&end) {
                        place += 1;
                    }
                    place += end.len();
                } else if word == "r" && hashes == 1 {
                    place += 1;
                } else {
                    found.push((Token::Word(word), begun));
                }
            }
            c => {
                place += 1;
                if !c.is_whitespace() {
                    found.push((Token::Mark(c), begun));
                }
            }
        }
        line += source[start..place.min(source.len())].iter().filter(|c| **c == '\n').count();
    }
    found
}

/// A module in a file of its own, or inline.
#[derive(Debug, Default)]
struct Module {
    file: PathBuf,
    /// The names that it defines, as far as the text shows.
    items: BTreeSet<String>,
    /// The names that it imports, with their paths.
    imports: BTreeMap<String, Names>,
    /// The paths of its glob imports.
    globs: Vec<Names>,
}

/// A path in a module.
#[derive(Debug)]
struct Mention {
    within: Names,
    path: Names,
    line: usize,
    /// The name under which it is re-exported. `None`: it is not.
    exported: Option<String>,
}

/// A target: its modules by their paths, and all paths in them.
#[derive(Debug, Default)]
struct Target {
    modules: BTreeMap<Names, Module>,
    mentions: Vec<Mention>,
    /// The words of each file outside of `use`.
    words: BTreeMap<PathBuf, BTreeSet<String>>,
}

/// Reads a file and the files that it declares. `folder` holds its children.
fn read(target: &mut Target, load: &dyn Fn(&Path) -> Option<String>, file: &Path, folder: &Path, within: &Names) {
    // The compiler checks that a declared file exists.
    let Some(text) = load(file) else { return };
    let tokens = tokens(&text);
    let mut reader = Reader { target, load, tokens: &tokens, file, place: 0 };
    reader.module(folder, within);
}

struct Reader<'a> {
    target: &'a mut Target,
    load: &'a dyn Fn(&Path) -> Option<String>,
    tokens: &'a [(Token, usize)],
    file: &'a Path,
    place: usize,
}

impl Reader<'_> {
    fn token(&self, place: usize) -> Option<&Token> {
        self.tokens.get(place).map(|(token, _)| token)
    }

    fn word(&self, place: usize) -> Option<&str> {
        match self.token(place) {
            Some(Token::Word(word)) => Some(word),
            _ => None,
        }
    }

    fn is(&self, place: usize, mark: char) -> bool {
        self.token(place) == Some(&Token::Mark(mark))
    }

    /// The position after the bracket that closes the one at `place`.
    fn behind(&self, mut place: usize) -> usize {
        let mut depth = 0;
        while let Some(token) = self.token(place) {
            match token {
                Token::Mark('{' | '[' | '(') => depth += 1,
                Token::Mark('}' | ']' | ')') => depth -= 1,
                _ => {}
            }
            place += 1;
            if depth == 0 {
                break;
            }
        }
        place
    }

    /// Reads a module up to its closing brace, or the end of the file.
    fn module(&mut self, folder: &Path, within: &Names) {
        self.target.modules.entry(within.clone()).or_default().file = self.file.to_path_buf();
        let (mut depth, mut own_path, mut for_tests, mut reach) = (0_usize, None, false, false);
        while let Some(token) = self.token(self.place).cloned() {
            let line = self.tokens[self.place].1;
            match token {
                Token::Mark('#') if self.is(self.place + 1, '[') => {
                    let end = self.behind(self.place + 1);
                    let inside = self.place + 2;
                    if self.word(inside) == Some("path")
                        && let Some(Token::Text(path)) = self.token(inside + 2)
                    {
                        own_path = Some(path.clone());
                    }
                    for_tests |= self.word(inside) == Some("cfg") && self.word(inside + 2) == Some("test") && self.is(inside + 3, ')');
                    // Paths in attributes count as code.
                    self.place += 2;
                    while self.place + 1 < end {
                        self.path(within);
                    }
                    self.place = end;
                    continue;
                }
                Token::Word(word) if word == "pub" => {
                    self.place = if self.is(self.place + 1, '(') { self.behind(self.place + 1) } else { self.place + 1 };
                    reach = true;
                    continue;
                }
                Token::Word(word) if word == "mod" && self.word(self.place + 1).is_some() => {
                    let name = self.word(self.place + 1).unwrap().to_owned();
                    let child: Names = within.iter().cloned().chain([name.clone()]).collect();
                    let inline = self.is(self.place + 2, '{');
                    self.place += 3;
                    if inline && for_tests {
                        self.place = self.behind(self.place - 1);
                    } else if inline {
                        self.module(&folder.join(&name), &child);
                    } else {
                        let (flat, nested) = (folder.join(format!("{name}.rs")), folder.join(&name).join("mod.rs"));
                        let file = match own_path.take() {
                            Some(path) => self.file.parent().unwrap().join(path),
                            None if (self.load)(&flat).is_some() => flat,
                            None => nested,
                        };
                        let inner = if file.ends_with("mod.rs") { file.parent().unwrap().to_path_buf() } else { folder.join(&name) };
                        read(self.target, self.load, &file, &inner, &child);
                    }
                }
                Token::Word(word) if word == "use" => {
                    self.place += 1;
                    self.tree(within, Vec::new(), line, reach);
                    self.place += 1;
                }
                Token::Word(word) => {
                    const DEFINE: [&str; 8] = ["fn", "struct", "enum", "union", "trait", "type", "const", "static"];
                    if let Some(name) = self.word(self.place + 1).filter(|_| DEFINE.contains(&word.as_str())).map(str::to_owned)
                        && depth == 0
                    {
                        self.target.modules.entry(within.clone()).or_default().items.insert(name);
                    }
                    self.path(within);
                    continue;
                }
                Token::Mark('{') => (depth, self.place) = (depth + 1, self.place + 1),
                Token::Mark('}') if depth == 0 => {
                    self.place += 1;
                    return;
                }
                Token::Mark('}') => (depth, self.place) = (depth - 1, self.place + 1),
                _ => self.place += 1,
            }
            (own_path, for_tests, reach) = (None, false, false);
        }
    }

    /// Reads one word, or one path with `::`, or skips anything else.
    fn path(&mut self, within: &Names) {
        let line = self.tokens[self.place].1;
        let mut path = Vec::new();
        while let Some(word) = self.word(self.place) {
            path.push(word.to_owned());
            self.place += 1;
            if self.token(self.place) == Some(&Token::Path) && self.word(self.place + 1).is_some() {
                self.place += 1;
            } else {
                break;
            }
        }
        if path.is_empty() {
            self.place += 1;
            return;
        }
        self.target.words.entry(self.file.to_path_buf()).or_default().insert(path[0].clone());
        if path.len() > 1 {
            self.target.mentions.push(Mention { within: within.clone(), path, line, exported: None });
        }
    }

    /// Reads the tree of a `use`: `a::{b, c as d, e::*}`.
    fn tree(&mut self, within: &Names, mut path: Names, line: usize, exported: bool) {
        loop {
            match self.token(self.place) {
                Some(Token::Word(word)) => {
                    path.push(word.clone());
                    self.place += 1;
                    if self.token(self.place) != Some(&Token::Path) {
                        break;
                    }
                }
                Some(Token::Path) => self.place += 1,
                Some(Token::Mark('{')) => {
                    self.place += 1;
                    while !self.is(self.place, '}') {
                        let line = self.tokens[self.place].1;
                        self.tree(within, path.clone(), line, exported);
                        if self.is(self.place, ',') {
                            self.place += 1;
                        }
                    }
                    self.place += 1;
                    return;
                }
                _ => break,
            }
        }
        let all = self.is(self.place, '*');
        if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        let mut name = path.last().cloned().unwrap_or_default();
        if all {
            self.place += 1;
        } else if self.word(self.place) == Some("as") {
            name = self.word(self.place + 1).unwrap_or_default().to_owned();
            self.place += 2;
        }
        let module = self.target.modules.entry(within.clone()).or_default();
        if all {
            module.globs.push(path.clone());
        } else {
            module.imports.insert(name.clone(), path.clone());
        }
        let exported = exported.then(|| if all { String::new() } else { name });
        self.target.mentions.push(Mention { within: within.clone(), path, line, exported });
    }
}

impl Target {
    /// The file that defines the item of a path, seen from a module. `None`: it is of another crate, or a local name.
    fn definer(&self, within: &Names, path: &[String], hops: usize) -> Option<&Path> {
        let first = path.first()?.as_str();
        let (mut place, mut rest): (Names, &[String]) = match first {
            "crate" => (Vec::new(), &path[1..]),
            "self" => (within.clone(), &path[1..]),
            "super" => (within.split_last()?.1.to_vec(), &path[1..]),
            _ => {
                let child: Names = within.iter().cloned().chain([first.to_owned()]).collect();
                if !self.modules.contains_key(&child) {
                    return None;
                }
                (child, &path[1..])
            }
        };
        while let Some(next) = rest.first() {
            if next == "super" {
                place.pop();
                rest = &rest[1..];
                continue;
            }
            let child: Names = place.iter().cloned().chain([next.clone()]).collect();
            if self.modules.contains_key(&child) {
                (place, rest) = (child, &rest[1..]);
                continue;
            }
            let module = &self.modules[&place];
            if module.items.contains(next) || hops == 0 {
                break;
            }
            if let Some(origin) = module.imports.get(next) {
                let whole: Names = origin.iter().chain(&rest[1..]).cloned().collect();
                // An import from another crate does not lead to a file of this one.
                return self.definer(&place, &whole, hops - 1);
            }
            let from = module.globs.iter().find_map(|glob| {
                let whole: Names = glob.iter().chain(rest).cloned().collect();
                let place = self.absolute(&place, glob)?;
                let module = &self.modules[&place];
                let has = module.items.contains(next) || module.imports.contains_key(next);
                has.then(|| self.definer(&place, &[&["self".to_owned()], &whole[glob.len()..]].concat(), hops - 1))
            });
            if let Some(from) = from {
                return from;
            }
            break;
        }
        Some(&self.modules[&place].file)
    }

    /// The module that a path names. `None`: it names no module.
    fn absolute(&self, within: &Names, path: &[String]) -> Option<Names> {
        let mut place = within.clone();
        for (position, name) in path.iter().enumerate() {
            match name.as_str() {
                "crate" => place.clear(),
                "self" => {}
                "super" => drop(place.pop()),
                _ => {
                    place.push(name.clone());
                    if !self.modules.contains_key(&place) && position == 0 {
                        return None;
                    }
                }
            }
        }
        self.modules.contains_key(&place).then_some(place)
    }

    /// Which file uses which, with the first line that does.
    fn knowledge(&self) -> BTreeMap<&Path, BTreeMap<&Path, usize>> {
        let mut known: BTreeMap<&Path, BTreeMap<&Path, usize>> = BTreeMap::new();
        for mention in &self.mentions {
            let from = self.modules[&mention.within].file.as_path();
            let Some(to) = self.definer(&mention.within, &mention.path, 8).filter(|to| *to != from) else {
                continue;
            };
            if let Some(name) = &mention.exported
                && self.is_below(to, from)
                && !self.words.get(from).is_some_and(|words| words.contains(name))
            {
                continue;
            }
            known.entry(from).or_default().entry(to).or_insert(mention.line);
        }
        known
    }

    /// Whether a file's module is inside another file's module.
    fn is_below(&self, file: &Path, above: &Path) -> bool {
        let path = |wanted: &Path| self.modules.iter().find(|(_, module)| module.file == wanted).map(|(path, _)| path);
        matches!((path(file), path(above)), (Some(file), Some(above)) if file.starts_with(above))
    }
}

/// The circles among files, each with the lines that cause it.
fn circles(known: &BTreeMap<&Path, BTreeMap<&Path, usize>>) -> BTreeMap<Circle, String> {
    let reached = |from: &Path| {
        let (mut reached, mut open) = (Circle::new(), vec![from]);
        while let Some(file) = open.pop() {
            for next in known.get(file).into_iter().flat_map(BTreeMap::keys) {
                if reached.insert(next.to_path_buf()) {
                    open.push(next);
                }
            }
        }
        reached
    };
    let reach: BTreeMap<&Path, Circle> = known.keys().map(|file| (*file, reached(file))).collect();
    let mut found = BTreeMap::new();
    for (file, reaches) in reach.iter().filter(|(file, reaches)| reaches.contains(**file)) {
        let leads_back = |other: &&PathBuf| reach.get(other.as_path()).is_some_and(|back| back.contains(*file));
        let circle: Circle = reaches.iter().filter(leads_back).cloned().collect();
        let lines = circle.iter().flat_map(|from| {
            let to = known[from.as_path()].iter().filter(|(to, _)| circle.contains(**to));
            to.map(move |(to, line)| format!("\n  {}:{line} knows {}", from.display(), to.display()))
        });
        let lines = lines.collect();
        found.insert(circle, lines);
    }
    found
}

/// The circles of the target with this root file. `load` reads a file.
fn circles_of(load: &dyn Fn(&Path) -> Option<String>, root: &Path) -> BTreeMap<Circle, String> {
    let mut target = Target::default();
    read(&mut target, load, root, root.parent().unwrap(), &Vec::new());
    circles(&target.knowledge())
}

#[test]
fn no_files_of_a_crate_know_each_other_in_a_circle() {
    let metadata = MetadataCommand::new().manifest_path(root().join("Cargo.toml")).no_deps().exec().unwrap();
    let load = |file: &Path| std::fs::read_to_string(root().join(file)).ok();
    let targets: Vec<_> = metadata.packages.iter().flat_map(|package| &package.targets).collect();
    assert!(targets.len() > 20, "the search finds nothing");
    let of_root = |path: &Path| circles_of(&load, path.strip_prefix(root()).unwrap());
    let found: BTreeMap<_, _> = targets.iter().flat_map(|target| of_root(target.src_path.as_std_path())).collect();
    let told: Vec<String> = found.iter().map(|(circle, lines)| format!("a circle of {} files:{lines}", circle.len())).collect();
    assert!(told.is_empty(), "{}", told.join("\n"));
}

/// The circles of a crate with these files, `lib.rs` first: their names, joined.
fn circles_among(files: &[(&str, &str)]) -> Vec<String> {
    let load = |path: &Path| files.iter().find(|(name, _)| Path::new(name) == path).map(|(_, text)| (*text).to_owned());
    let name = |circle: Circle| circle.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(" ");
    circles_of(&load, Path::new(files[0].0)).into_keys().map(name).collect()
}

#[test]
fn a_circle_is_found_however_the_path_is_written() {
    let back = ("b.rs", "use crate::a::A;\npub struct B;");
    for there in [
        "use crate::b::B;",
        "use super::b::{self, B as C};",
        "use super::{b::*, c};",
        "fn f() { let b = super::b::f(&crate::c::C); }",
        "#[derive(crate::b::B)] struct C;",
        "mod inner { use super::super::b::B; }",
        "/* a comment, and \" in it */ fn f<'a>(c: char) -> bool { c == '\"' || c == '\\'' || crate::b::f(r#\"x\"#) }",
        "macro_rules! m { () => { $crate::b::f() } }",
    ] {
        let a = format!("{there}\npub struct A;");
        assert_eq!(circles_among(&[("lib.rs", "mod a; mod b; mod c;"), ("a.rs", &a), back, ("c.rs", "")]), ["a.rs b.rs"], "{there}");
    }
    for nothing in [
        "//! See [`crate::b::B`].",
        "const TEXT: &str = \"use crate::b::B;\";",
        "#[cfg(test)]\nmod tests {\n    use crate::b::B;\n}",
        "fn f() { let b = self.b::<u8>(); other::b::f(); }",
    ] {
        let a = format!("{nothing}\npub struct A;");
        assert_eq!(circles_among(&[("lib.rs", "mod a; mod b;"), ("a.rs", &a), back]), [""; 0], "{nothing}");
    }
}

#[test]
fn a_circle_of_three_is_one_and_a_path_is_followed_to_who_defines() {
    let lib = ("lib.rs", "mod a; mod b; mod c; mod facade;");
    let (b, c) = (("b.rs", "use crate::facade::C; pub struct B;"), ("c.rs", "use crate::facade::A; pub struct C;"));
    let facade = ("facade.rs", "pub(crate) use crate::{a::A, c::C};");
    assert_eq!(circles_among(&[lib, ("a.rs", "use crate::b::B; pub struct A;"), b, c, facade]), ["a.rs b.rs c.rs"]);
    assert_eq!(circles_among(&[lib, ("a.rs", "pub struct A;"), b, c, facade]), [""; 0]);
}

#[test]
fn a_module_s_file_is_above_its_children_or_below_them() {
    let below = "mod x; mod y; pub use x::X; pub struct Shared;";
    let above = "mod x; mod y; pub use x::X; fn f() -> X { y::f() }";
    let (takes, takes_not) = ("use super::Shared; pub struct X;", "pub struct X;");
    for (parent, child, expected) in [
        (below, takes, &[][..]),
        (above, takes_not, &[]),
        // What a child takes from another through the parent, it takes from the other one.
        ("mod x; mod y; use y::Y; fn f(_: Y) {}", "use super::Y; pub struct X;", &[]),
        ("mod x; mod y; pub struct Shared; pub use x::X; fn f(_: X) {}", takes, &["m/mod.rs m/x.rs"]),
        ("mod x; mod y; pub struct Shared; use x::X;", takes, &["m/mod.rs m/x.rs"]),
    ] {
        let y = ("m/y.rs", "pub struct Y; pub fn f() {}");
        assert_eq!(circles_among(&[("lib.rs", "mod m;"), ("m/mod.rs", parent), ("m/x.rs", child), y]), expected, "{parent}");
    }
}

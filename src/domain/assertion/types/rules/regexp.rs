//! Patterns of rules and constraints: RE2 syntax, matching from start to end.
//!
//! The `regex` crate speaks almost the same language. To give the same verdicts as devices, a pattern is read by RE2's
//! grammar, in one pass and without compiling anything, and rewritten so that the crate means the same by it: ASCII
//! `\d`, `\w`, `\s`, `\b`; octal escapes; `\Q...\E`; literal braces; no set operations in classes.

use std::sync::{Arc, OnceLock};

use regex::bytes::{Regex, RegexBuilder};

use super::class;

/// Highest number in a `{n,m}`, also when nested.
const MAX_REPEAT: u32 = 1000;
/// Longest pattern read, in bytes; no real one comes near. Keeps reading, which is not quite linear, cheap.
const MAX_TEXT: usize = 16 << 10;
/// Deepest nesting of groups.
const MAX_GROUPS: usize = 1000;
/// Largest automaton compiled, in bytes.
const MAX_COMPILED: usize = 4 << 20;

/// A pattern whose syntax is right. Compiled when first needed.
#[derive(Clone, Debug)]
pub(in super::super) struct Pattern {
    rewritten: Arc<str>,
    states: usize,
    compiled: Arc<OnceLock<Option<Regex>>>,
}

impl Pattern {
    /// Reads `text`, which is anchored as `^(text)$`. The error says what is wrong.
    pub(in super::super) fn new(text: &str) -> Result<Self, String> {
        if text.len() > MAX_TEXT {
            return Err(format!("is longer than {MAX_TEXT} bytes"));
        }
        let anchored = format!("^({text})$");
        let (rewritten, states) = Reader::new(&anchored)
            .read()
            .map_err(|problem| format!("is no pattern of RE2 syntax ({problem})"))?;
        Ok(Self {
            rewritten: rewritten.into(),
            states,
            compiled: Arc::default(),
        })
    }

    /// Rough size of its automaton.
    pub(in super::super) fn states(&self) -> usize {
        self.states
    }

    /// Whether the whole of `text` matches; no if the pattern cannot be compiled.
    pub(in super::super) fn matches(&self, text: &str) -> bool {
        self.regex().is_some_and(|regex| regex.is_match(text.as_bytes()))
    }

    fn regex(&self) -> Option<&Regex> {
        let compile = || {
            RegexBuilder::new(&self.rewritten)
                .size_limit(MAX_COMPILED)
                .build()
                .ok()
        };
        self.compiled.get_or_init(compile).as_ref()
    }
}

/// What stands before the place reading is at, for a repetition to apply to.
#[derive(Clone, Copy)]
enum Before {
    Nothing,
    Atom(Size),
    Repeated(Size),
}

/// Size of a part of a pattern.
#[derive(Clone, Copy, Default)]
struct Size {
    states: usize,
    /// Highest product of nested repeat counts in it.
    repeats: u32,
}

/// A group that is open.
#[derive(Default)]
struct Group {
    states: usize,
    repeats: u32,
}

struct Reader<'t> {
    rest: &'t str,
    out: String,
    outer: Vec<Group>,
    group: Group,
    before: Before,
    /// Where in `out` the part before ends. Flags may stand between it and its repetition.
    end: usize,
    names: Vec<&'t str>,
}

type Read<T> = Result<T, &'static str>;

impl<'t> Reader<'t> {
    fn new(text: &'t str) -> Self {
        Self {
            rest: text,
            out: String::with_capacity(text.len() * 2),
            outer: Vec::new(),
            group: Group::default(),
            before: Before::Nothing,
            end: 0,
            names: Vec::new(),
        }
    }

    fn read(mut self) -> Read<(String, usize)> {
        while let Some(c) = self.take() {
            match c {
                '(' => self.open()?,
                ')' => self.close()?,
                '|' => {
                    self.settle();
                    self.out.push('|');
                }
                '^' | '$' => {
                    self.out.push(c);
                    self.atom(1);
                }
                '.' => {
                    self.out.push('.');
                    self.atom(10);
                }
                '*' | '+' => self.repeat(&c.to_string(), 1, 1)?,
                '?' => self.repeat("?", 1, 1)?,
                '{' => self.brace()?,
                '[' => {
                    let states = class::read(&mut self.rest, &mut self.out)?;
                    self.atom(states);
                }
                '\\' => self.escape()?,
                literal => self.literal(literal),
            }
        }
        if self.outer.is_empty() {
            self.settle();
            Ok((self.out, self.group.states))
        } else {
            Err("a parenthesis is not closed")
        }
    }

    fn take(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let c = chars.next();
        self.rest = chars.as_str();
        c
    }

    fn take_prefix(&mut self, prefix: &str) -> bool {
        let rest = self.rest.strip_prefix(prefix);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// Adds the part before to the group: no repetition can reach it any more.
    fn settle(&mut self) {
        if let Before::Atom(size) = self.before {
            self.group.states = self.group.states.saturating_add(size.states);
            self.group.repeats = self.group.repeats.max(size.repeats);
        }
        self.before = Before::Nothing;
    }

    /// Notes that a part was written.
    fn atom(&mut self, states: usize) {
        self.settle();
        self.before = Before::Atom(Size { states, repeats: 1 });
        self.end = self.out.len();
    }

    fn literal(&mut self, c: char) {
        class::push_char(&mut self.out, c);
        self.atom(1);
    }

    fn open(&mut self) -> Read<()> {
        if !self.take_prefix("?") {
            self.out.push_str("(?:");
        } else if self.take_prefix("P<") {
            self.name()?;
            self.out.push_str("(?:");
        } else if !self.flags()? {
            // Flags alone are nothing to repeat; a repetition after them is one of what stands before.
            if let Before::Repeated(size) = self.before {
                self.before = Before::Atom(size);
            }
            return Ok(());
        }
        self.settle();
        if self.outer.len() >= MAX_GROUPS {
            return Err("groups are nested too deeply");
        }
        self.outer.push(std::mem::take(&mut self.group));
        Ok(())
    }

    /// The name of a group, which matching does not need.
    fn name(&mut self) -> Read<()> {
        let (name, rest) = self.rest.split_once('>').ok_or("a group name is not closed")?;
        let valid = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !valid || self.names.contains(&name) {
            return Err("a group name is invalid or given twice");
        }
        self.names.push(name);
        self.rest = rest;
        Ok(())
    }

    /// Flags after `(?`; says whether they open a group.
    fn flags(&mut self) -> Read<bool> {
        const KNOWN: [char; 4] = ['i', 'm', 's', 'U'];
        let mut set: [Option<bool>; 4] = [None; 4];
        let (mut on, mut any) = (true, false);
        loop {
            let c = self.take().ok_or("a parenthesis is not closed")?;
            if let Some(slot) = KNOWN.iter().zip(&mut set).find(|(known, _)| **known == c) {
                *slot.1 = Some(on);
                any = true;
            } else if c == '-' && on {
                (on, any) = (false, false);
            } else if (c == ':' || c == ')') && (on || any) {
                self.write_flags(&KNOWN, &set, c);
                return Ok(c == ':');
            } else {
                return Err("(? is followed by something unknown");
            }
        }
    }

    fn write_flags(&mut self, known: &[char; 4], set: &[Option<bool>; 4], end: char) {
        let with = |wanted: bool| {
            known
                .iter()
                .zip(set)
                .filter(move |(_, set)| **set == Some(wanted))
                .map(|(c, _)| *c)
        };
        if end == ')' && set.iter().all(Option::is_none) {
            return;
        }
        self.out.push_str("(?");
        self.out.extend(with(true));
        if with(false).next().is_some() {
            self.out.push('-');
            self.out.extend(with(false));
        }
        self.out.push(end);
    }

    fn close(&mut self) -> Read<()> {
        self.settle();
        let outer = self
            .outer
            .pop()
            .ok_or("a parenthesis is closed that was not opened")?;
        let inner = std::mem::replace(&mut self.group, outer);
        self.out.push(')');
        self.before = Before::Atom(Size {
            states: inner.states.saturating_add(1),
            repeats: inner.repeats.max(1),
        });
        self.end = self.out.len();
        Ok(())
    }

    /// A repetition of the part before: `times` copies of it, `count` towards the limit of nested counts.
    fn repeat(&mut self, operator: &str, times: usize, count: u32) -> Read<()> {
        let size = match self.before {
            Before::Atom(size) => size,
            Before::Nothing => return Err("a repetition has nothing to repeat"),
            Before::Repeated(_) => return Err("a repetition is repeated"),
        };
        let repeats = size.repeats.saturating_mul(count);
        if repeats > MAX_REPEAT && count > 1 {
            return Err("a repetition counts too far");
        }
        let lazy = if self.take_prefix("?") { "?" } else { "" };
        for part in [operator, lazy] {
            self.out.insert_str(self.end, part);
            self.end += part.len();
        }
        let states = size.states.saturating_mul(times).saturating_add(1);
        self.group.states = self.group.states.saturating_add(states);
        self.group.repeats = self.group.repeats.max(repeats);
        self.before = Before::Repeated(Size { states, repeats });
        Ok(())
    }

    /// `{n}`, `{n,}`, `{n,m}`; anything else is a brace as text.
    fn brace(&mut self) -> Read<()> {
        let Some((inside, rest)) = self.rest.split_once('}') else {
            self.literal('{');
            return Ok(());
        };
        let (min, max) = match inside.split_once(',') {
            None => (inside, Some(inside)),
            Some((min, "")) => (min, None),
            Some((min, max)) => (min, Some(max)),
        };
        let is_count = |text: &str| {
            !text.is_empty()
                && text.bytes().all(|b| b.is_ascii_digit())
                && (text == "0" || !text.starts_with('0'))
        };
        if !is_count(min) || !max.is_none_or(is_count) {
            self.literal('{');
            return Ok(());
        }
        let number = |text: &str| match text.parse::<u32>() {
            Ok(number) if number <= MAX_REPEAT => Ok(number),
            Ok(_) | Err(_) => Err("a repetition counts too far"),
        };
        let least = number(min)?;
        let most = max.map(number).transpose()?;
        if most.is_some_and(|most| most < least) {
            return Err("a repetition counts backwards");
        }
        self.rest = rest;
        let copies = most.unwrap_or(least + 1).max(1);
        let operator = format!("{{{inside}}}");
        self.repeat(
            &operator,
            usize::try_from(copies).unwrap_or(usize::MAX),
            most.unwrap_or(least).max(1),
        )
    }

    fn escape(&mut self) -> Read<()> {
        let next = self.rest.chars().next().ok_or("it ends with a backslash")?;
        let assertion = match next {
            'A' => Some("\\A"),
            'z' => Some("\\z"),
            'b' => Some("(?-u:\\b)"),
            'B' => Some("(?-u:\\B)"),
            _ => None,
        };
        if let Some(assertion) = assertion {
            self.take();
            self.out.push_str(assertion);
            self.atom(1);
        } else if self.take_prefix("Q") {
            let (quoted, rest) = self.rest.split_once("\\E").unwrap_or((self.rest, ""));
            self.rest = rest;
            quoted.chars().for_each(|c| self.literal(c));
        } else if let Some(states) = class::read_named(&mut self.rest, &mut self.out)? {
            self.atom(states);
        } else {
            let c = class::read_escaped(&mut self.rest)?;
            self.literal(c);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_match_as_re2_has_it() {
        for (pattern, text, matches) in [
            ("gate-.*", "gate-22", true),
            ("gate-.*", "xgate-22", false),
            ("a|b", "ab", false),
            ("a)|(b", "ax", true),
            ("[0-9]+", "٣", false),
            ("\\d+", "٣", false),
            ("\\d{2,3}", "123", true),
            ("\\w+\\s\\S", "a_1 \u{e9}", true),
            ("\\s", "\u{b}", false),
            ("[\\w-]+", "a-b", true),
            ("[\\d-z]+", "1-z", true),
            ("\\141\\x62\\x{63}", "abc", true),
            ("\\Qa.b\\E", "a.b", true),
            ("\\Qa.b\\E", "axb", false),
            ("a{,2}", "a{,2}", true),
            ("a{02}", "a{02}", true),
            ("[[:alpha:]]+", "ab", true),
            ("[a[b]+", "a[b", true),
            ("[a&&b]+", "&", true),
            ("[]a]+", "]a", true),
            ("[^]a]", "b", true),
            ("(?i)AB", "ab", true),
            ("(?i:A)B", "ab", false),
            (".", "\u{e9}", true),
            (".", "\n", false),
            ("(?s).", "\n", true),
            ("\\pL+", "\u{e9}a", true),
            ("\\PL", "1", true),
            ("\\p{^L}", "1", true),
            ("(?P<n>a)b", "ab", true),
            ("a\\bb", "ab", false),
            ("\\_", "_", true),
            ("", "", true),
            ("", "a", false),
            ("^*a", "a", true),
            ("a(?i)*b", "aaB", true),
            ("a(?i)*b", "aAB", false),
        ] {
            assert_eq!(
                Pattern::new(pattern).unwrap().matches(text),
                matches,
                "{pattern:?} on {text:?}"
            );
        }
    }

    #[test]
    fn what_re2_refuses_is_refused() {
        for pattern in [
            "(",
            ")",
            "(?!x)",
            "(?=x)",
            "(?<=x)",
            "(?<n>x)",
            "\\1",
            "\\8",
            "a**",
            "a*+",
            "a{2}{3}",
            "*",
            "|*",
            "(*)",
            "[",
            "[b-a]",
            "[a-\\d]",
            "[[:foo:]]",
            "a{1001}",
            "a{2,1}",
            "(a{100}){11}",
            "\\C",
            "\\E",
            "\\u0041",
            "\\Z",
            "\\x",
            "\\x{}",
            "\\x{110000}",
            "\\",
            "\\\u{e9}",
            "(?x)a",
            "(?u)a",
            "(?-)a",
            "(?P<>a)",
            "(?P<n>a)(?P<n>b)",
            "\\p{Nope}",
            "\\p{",
            "\\p",
            "(?i",
            "\\Q(",
        ] {
            assert!(Pattern::new(pattern).is_err(), "{pattern:?}");
        }
    }

    #[test]
    fn small_patterns_are_small_and_repeated_ones_are_not() {
        assert!(Pattern::new("/dev/tty[A-Z]{3}[0-9]*").unwrap().states() < 100);
        assert!(Pattern::new("(\\pL{30}){30}").unwrap().states() > 100_000);
    }

    proptest! {
        #[test]
        fn whatever_is_read_can_be_compiled(text in "[ab0-9(){}\\[\\]|*+?.,^$:QEdwsbpPLzxA&~<i=\\\\-]{0,12}") {
            if let Ok(pattern) = Pattern::new(&text)
                && pattern.states() < 10_000
            {
                prop_assert!(pattern.regex().is_some(), "{}", pattern.rewritten);
            }
        }

        #[test]
        fn any_text_is_read_without_panic(text in ".{0,40}") {
            let _ = Pattern::new(&text);
        }
    }
}

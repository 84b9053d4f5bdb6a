//! What pages are made of: forms, tables, times, sizes. All text in them is escaped by the template language.
#![allow(
    clippy::needless_pass_by_value,
    reason = "parts of pages are made where they are put in"
)]

use maud::{Markup, html};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::app::FormMark;
use crate::domain::time::Timestamp;

/// Rows of a page of a list.
pub(super) const ROWS: usize = 50;

const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// The path of these segments.
pub(super) fn at(segments: &[&str]) -> String {
    segments
        .iter()
        .map(|segment| format!("/{}", utf8_percent_encode(segment, SEGMENT)))
        .collect()
}

/// A path with a query.
pub(super) fn with_query(path: &str, pairs: &[(&str, &str)]) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
        query.append_pair(name, value);
    }
    let query = query.finish();
    if query.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{query}")
    }
}

/// A form that changes something; it carries the mark.
pub(super) fn post_form(mark: &FormMark, action: &str, body: Markup) -> Markup {
    html! {
        form method="post" action=(action) {
            input type="hidden" name="mark" value=(mark.text());
            (body)
        }
    }
}

/// A form that brings files. The mark is its first field; what comes before the files is read before them.
pub(super) fn post_files(mark: &FormMark, action: &str, body: Markup) -> Markup {
    html! {
        form method="post" action=(action) enctype="multipart/form-data" data-upload="" {
            input type="hidden" name="mark" value=(mark.text());
            (body)
        }
    }
}

/// A button that changes something by itself. `about` says to those who do not see what it stands beside what it is about.
pub(super) fn post_button(
    mark: &FormMark,
    action: &str,
    label: &str,
    about: &str,
    class: &str,
    fields: &[(&str, &str)],
) -> Markup {
    post_form(
        mark,
        action,
        html! {
            @for (name, value) in fields { input type="hidden" name=(name) value=(value); }
            button class=(class) aria-label={ (label) ": " (about) } { (label) }
        },
    )
}

/// A field of a form: label, input, and a hint that belongs to it. `id` is the `id` of the input.
pub(super) fn field(id: &str, label: &str, input: Markup, hint: &str) -> Markup {
    html! {
        div class="field" {
            label for=(id) { (label) }
            (input)
            @if !hint.is_empty() { p class="hint" id={ (id) "-hint" } { (hint) } }
        }
    }
}

/// A line to type in. `kind` is its type (`text`, `email`, `search`...).
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    /// Its name and, with a prefix, its id.
    pub name: &'a str,
    /// What people read.
    pub label: &'a str,
    /// Further words; may be empty.
    pub hint: &'a str,
    /// What it holds.
    pub value: &'a str,
    /// `text`, `email`, `password`, `number`.
    pub kind: &'a str,
    /// Whether it has to be filled in.
    pub required: bool,
    /// `autocomplete`; empty = `off`.
    pub complete: &'a str,
    /// Longest text.
    pub longest: u32,
}

impl Default for Line<'_> {
    fn default() -> Self {
        Self {
            name: "",
            label: "",
            hint: "",
            value: "",
            kind: "text",
            required: false,
            complete: "off",
            longest: 200,
        }
    }
}

/// A line to type in, with its label.
pub(super) fn line(line: Line<'_>) -> Markup {
    let id = format!("f-{}", line.name);
    let hint = (!line.hint.is_empty()).then(|| format!("{id}-hint"));
    field(
        &id,
        line.label,
        html! {
            input type=(line.kind) id=(id) name=(line.name) value=(line.value) required[line.required]
                autocomplete=(line.complete) maxlength=(line.longest) aria-describedby=[hint]
                autocapitalize="none" spellcheck="false";
        },
        line.hint,
    )
}

/// A choice out of few: (value, name), the chosen value.
pub(super) fn choice(name: &str, label: &str, hint: &str, options: &[(&str, &str)], chosen: &str) -> Markup {
    let id = format!("f-{name}");
    field(
        &id,
        label,
        html! {
            select id=(id) name=(name) aria-describedby=[(!hint.is_empty()).then(|| format!("{id}-hint"))] {
                @for (value, text) in options {
                    option value=(value) selected[*value == chosen] { (text) }
                }
            }
        },
        hint,
    )
}

/// A box to tick.
pub(super) fn tick(name: &str, value: &str, label: &str, ticked: bool) -> Markup {
    html! {
        label class="tick" {
            input type="checkbox" name=(name) value=(value) checked[ticked];
            span { (label) }
        }
    }
}

/// A table that may be wider than the window: then it is scrolled by itself, with the keyboard too.
pub(super) fn table(caption: &str, heads: &[&str], rows: Markup) -> Markup {
    html! {
        div class="wide" role="region" aria-label=(caption) tabindex="0" {
            table {
                caption { (caption) }
                thead {
                    tr {
                        @for head in heads {
                            @if head.is_empty() { td {} } @else { th scope="col" { (head) } }
                        }
                    }
                }
                tbody { (rows) }
            }
        }
    }
}

/// What is said in place of an empty list: what there could be, and what to do next.
pub(super) fn empty(text: &str) -> Markup {
    html! { p class="empty" { (text) } }
}

/// Names and texts, below each other.
pub(super) fn facts(pairs: &[(&str, Markup)]) -> Markup {
    html! {
        dl class="facts" {
            @for (name, text) in pairs { div { dt { (name) } dd { (text) } } }
        }
    }
}

/// A form that asks for a list again, with a text to look for.
pub(super) fn search(action: &str, label: &str, value: &str, hidden: &[(&str, &str)]) -> Markup {
    html! {
        form class="search" role="search" method="get" action=(action) {
            label for="f-q" { (label) }
            input type="search" id="f-q" name="q" value=(value) maxlength="200" autocomplete="off";
            @for (name, value) in hidden {
                @if !value.is_empty() { input type="hidden" name=(name) value=(value); }
            }
            button { "Search" }
        }
    }
}

/// A part of a list, by number of page from 1 on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    /// The page.
    pub page: usize,
    /// How many there are in all.
    pub all: usize,
}

impl Cut {
    /// The items of page `page` (or of the nearest there is) of `items`.
    pub(super) fn of<T>(items: Vec<T>, page: Option<usize>) -> (Self, Vec<T>) {
        let all = items.len();
        let last = all.div_ceil(ROWS).max(1);
        let page = page.unwrap_or(1).clamp(1, last);
        let part = items.into_iter().skip((page - 1) * ROWS).take(ROWS).collect();
        (Self { page, all }, part)
    }

    /// Links to the pages before and after; nothing where one page is all.
    pub(super) fn links(self, path: &str, kept: &[(&str, &str)]) -> Markup {
        let last = self.all.div_ceil(ROWS).max(1);
        let to = |page: usize| {
            let number = page.to_string();
            with_query(path, &[kept, &[("page", number.as_str())]].concat())
        };
        html! {
            @if last > 1 {
                nav class="pages" aria-label="Pages" {
                    @if self.page > 1 { a href=(to(self.page - 1)) rel="prev" { "Previous" } }
                    span { "Page " (self.page) " of " (last) ", " (self.all) " in all" }
                    @if self.page < last { a href=(to(self.page + 1)) rel="next" { "Next" } }
                }
            }
        }
    }
}

/// A link to what follows, for lists that are read from a place on; and back to the beginning.
pub(super) fn onward(path: &str, next: Option<String>, begun: bool) -> Markup {
    html! {
        @if next.is_some() || begun {
            nav class="pages" aria-label="Pages" {
                @if begun { a href=(path) { "First page" } }
                @if let Some(next) = next { a href=(next) rel="next" { "Next page" } }
            }
        }
    }
}

/// A time, to the minute.
pub(super) fn time(at: Timestamp) -> Markup {
    let text = at.to_string();
    // 2026-06-01T00:00:00Z
    let day = text.get(..10).unwrap_or(&text);
    let minute = text.get(11..16).unwrap_or_default();
    html! { time datetime=(text) { (day) " " (minute) } }
}

/// A time that may not have come.
pub(super) fn maybe_time(at: Option<Timestamp>, never: &str) -> Markup {
    match at {
        Some(at) => time(at),
        None => html! { span class="quiet" { (never) } },
    }
}

/// A number of bytes as people read it.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut tenths = u128::from(bytes) * 10 / 1024;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or_default();
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

/// One of few words about a thing, set apart.
pub(super) fn mark(word: &str, class: &str) -> Markup {
    html! { span class={ "mark " (class) } { (word) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_queries_are_encoded() {
        assert_eq!(at(&["a", "x/y z", "é?"]), "/a/x%2Fy%20z/%C3%A9%3F");
        assert_eq!(with_query("/a", &[("q", "x&y"), ("p", "")]), "/a?q=x%26y");
        assert_eq!(with_query("/a", &[("q", "")]), "/a");
    }

    #[test]
    fn sizes_are_cut_down_not_up() {
        let sizes = [0, 1023, 1024, 1536, 1024 * 1024 - 1, 5 << 30].map(size);
        assert_eq!(
            sizes,
            ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1023.9 KiB", "5.0 GiB"]
        );
    }

    #[test]
    fn a_list_is_cut_into_pages() {
        let (cut, part) = Cut::of((0..120).collect(), Some(3));
        assert_eq!((cut.page, part.len(), part[0]), (3, 20, 100));
        let (cut, part) = Cut::of((0..120).collect(), Some(99));
        assert_eq!((cut.page, part.len()), (3, 20));
        let (cut, part) = Cut::of(Vec::<u8>::new(), None);
        assert_eq!((cut.page, part.len()), (1, 0));
        assert_eq!(cut.links("/x", &[]).into_string(), "");
    }

    #[test]
    fn text_is_escaped() {
        let text = table("<b>", &["\"><i>"], html! { (mark("&<x>", "a\"b")) }).into_string();
        assert!(
            !text.contains("<b>") && !text.contains("<i>") && !text.contains("<x>") && !text.contains("a\"b")
        );
    }
}

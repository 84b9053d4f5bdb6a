//! What a page says after something was done: one of the words known here, in the query.

use super::super::parts::with_query;
use super::Answer;
use crate::http::query::Query;

/// What is said after something was done: a word of the query, of these only.
pub(super) fn done(query: &Query) -> Option<&'static str> {
    let word = query.all("done").next()?;
    DONE.iter()
        .find(|(known, _)| *known == word)
        .map(|(_, text)| *text)
}

/// The path of a page that says that something was done.
pub(in crate::http::web) fn done_at(path: &str, word: &'static str) -> Answer {
    debug_assert!(DONE.iter().any(|(known, _)| *known == word), "{word}");
    Answer::On(with_query(path, &[("done", word)]))
}

const DONE: &[(&str, &str)] = &[
    ("saved", "Saved."),
    ("created", "Created."),
    ("revoked", "The token is revoked: it is no good from now on."),
    (
        "password",
        "Your password is changed. Your other log-ins have ended.",
    ),
    ("enabled", "The account may log in again."),
    (
        "disabled",
        "The account is switched off: it cannot log in, and its tokens are dead.",
    ),
    (
        "unbound",
        "The account is unbound: the next sign-in with its e-mail address binds it anew.",
    ),
    ("member-set", "The member has these roles now."),
    ("member-removed", "The member has no role here any more."),
    (
        "invite-revoked",
        "The invite is taken back: its text is no good from now on.",
    ),
    (
        "unshared",
        "The invite is taken back: its link is no good from now on, and who accepted it helps no more.",
    ),
    ("included", "The store shows the snap now."),
    ("excluded", "The store does not show the snap any more."),
    (
        "registered",
        "The name is registered. Upload a first revision next.",
    ),
    ("released", "Released."),
    (
        "closed",
        "The channel is closed: devices get what the safer risks hold.",
    ),
    ("promoted", "Promoted."),
    (
        "paused",
        "Paused: no further device gets the revision; who has it keeps it.",
    ),
    ("resumed", "The release goes on."),
    ("track", "The track is there."),
    ("uploaded", "The revision is there."),
    (
        "known",
        "These files are this revision already; nothing new was made.",
    ),
    ("policy", "The key signs the serials of this model from now on."),
    (
        "api-key-revoked",
        "The API key is revoked: it is no good from now on.",
    ),
    ("key-disabled", "The key is switched off."),
    ("key-enabled", "The key is switched on."),
    ("judged", "The judgement is in force."),
    ("decided", "Your decision is recorded."),
    ("answered", "Your answer is with the reviewer."),
    ("granted", "Done: the next snap-declaration says so."),
    (
        "asked",
        "It waits for a second person: an administrator, or the operator, confirms it here.",
    ),
    (
        "held",
        "The revision is there. It waits for a reviewer before it can be released.",
    ),
    (
        "refused",
        "The revision is there, but the checks refuse it: see its page.",
    ),
];

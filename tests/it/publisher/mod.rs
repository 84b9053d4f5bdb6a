//! The API of publisher clients.

mod whoami;

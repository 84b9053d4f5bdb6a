//! A channel map that follows another one, of which parts are told now and then.

use super::channel::Channel;
use super::releases::Releases;
use crate::domain::ident::Architecture;
use crate::domain::time::Timestamp;

impl Releases {
    /// Makes what is released where `within` holds the same as in `given`; what is elsewhere stays. What goes is
    /// remembered as on every release; what `given` remembers is taken over, unless the same is remembered here.
    pub fn mirror(&mut self, given: &Self, within: impl Fn(&Channel, &Architecture) -> bool, now: Timestamp) {
        self.take_out(now, |open| {
            within(&open.channel, &open.architecture) && !given.open.contains(open)
        });
        for new in &given.open {
            if within(&new.channel, &new.architecture) && !self.open.contains(new) {
                self.open.push(new.clone());
            }
        }
        self.open
            .sort_by(|a, b| (&a.channel, &a.architecture).cmp(&(&b.channel, &b.architecture)));
        for past in &given.past {
            let known = self.past.iter().any(|known| {
                known.revision == past.revision
                    && known.channel == past.channel
                    && known.architecture == past.architecture
            });
            if !known {
                self.past.push(past.clone());
            }
        }
        self.past.sort_by_key(|past| past.until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix(seconds)
    }

    fn map(releases: &[(&str, &str, u64)], now: i64) -> Releases {
        let mut map = Releases::default();
        for (channel, architecture, revision) in releases {
            let architectures = [architecture.parse().unwrap()];
            map.release(
                &architectures,
                &channel.parse().unwrap(),
                *revision,
                None,
                at(now),
            );
        }
        map
    }

    fn open(map: &Releases) -> Vec<(String, &str, u64)> {
        map.open
            .iter()
            .map(|open| {
                (
                    open.channel.to_string(),
                    open.architecture.as_str(),
                    open.revision,
                )
            })
            .collect()
    }

    #[test]
    fn only_what_is_told_of_follows() {
        let mut here = map(
            &[
                ("stable", "amd64", 1),
                ("stable", "arm64", 1),
                ("edge", "amd64", 9),
            ],
            10,
        );
        let given = map(
            &[
                ("stable", "amd64", 2),
                ("candidate", "amd64", 3),
                ("edge", "amd64", 4),
            ],
            20,
        );
        let edge: Channel = "edge".parse().unwrap();
        here.mirror(&given, |channel, _| *channel != edge, at(30));
        assert_eq!(
            open(&here),
            [
                ("latest/stable".to_owned(), "amd64", 2),
                ("latest/candidate".to_owned(), "amd64", 3),
                ("latest/edge".to_owned(), "amd64", 9),
            ]
        );
        assert_eq!(here.past.len(), 2, "{:?}", here.past);
        // The same again changes nothing, whenever.
        let before = here.clone();
        here.mirror(&given, |channel, _| *channel != edge, at(40));
        assert_eq!(here, before);
    }

    #[test]
    fn what_devices_step_through_comes_along_once() {
        let mut source = map(&[("stable", "amd64", 1)], 10);
        source.release(
            &["amd64".parse().unwrap()],
            &"stable".parse().unwrap(),
            2,
            None,
            at(20),
        );
        let mut here = Releases::default();
        here.mirror(&source, |_, _| true, at(30));
        assert_eq!(here.past, source.past);
        let before = here.clone();
        here.mirror(&source, |_, _| true, at(50));
        assert_eq!(here, before);
        // A map of before is one like any other.
        here.mirror(&map(&[("stable", "amd64", 1)], 10), |_, _| true, at(60));
        assert_eq!(open(&here), [("latest/stable".to_owned(), "amd64", 1)]);
        assert_eq!(here.past.last().unwrap().revision, 2);
    }
}

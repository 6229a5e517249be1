//! Which lab is in force: the card's own, else the last good one, else the image's default.

use pilotlight_lab::Lab;

/// More than any lab needs; a longer file on the card is refused unread.
pub const LARGEST: u64 = 256 * 1024;

/// Where a lab came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The card's first partition, where its owner edits it.
    Card,
    /// The data partition: the last lab that was valid.
    LastGood,
    /// The image's default.
    Default,
}

impl Source {
    /// Its name in the status file and in what is printed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Card => "card",
            Self::LastGood => "last-good",
            Self::Default => "default",
        }
    }
}

/// The lab in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// What it says.
    pub lab: Lab,
    /// Its file, as it was found.
    pub text: String,
    /// Where it came from.
    pub source: Source,
    /// Why it is not the card's own.
    pub problem: Option<String>,
}

/// Takes the first valid lab of `candidates`, which stand in the order of their right. Each is a file's text, or
/// why there is none.
///
/// # Errors
/// When none is valid: what was wrong with each.
pub fn choose(candidates: Vec<(Source, Result<String, String>)>) -> Result<Choice, String> {
    let mut problems = Vec::new();
    for (source, found) in candidates {
        match found.and_then(|text| Ok((check(source, &text)?, text))) {
            Ok((lab, text)) => {
                let problem = (!problems.is_empty()).then(|| problems.join("\n"));
                return Ok(Choice { lab, text, source, problem });
            }
            Err(problem) => problems.push(format!("{}: {problem}", source.name())),
        }
    }
    Err(problems.join("\n"))
}

fn check(source: Source, text: &str) -> Result<Lab, String> {
    let name = format!("lab.toml ({})", source.name());
    pilotlight_lab::parse(text).map_err(|problems| problems.render(&name, text, false))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lab(domain: &str) -> String {
        format!("[network]\naddress = \"10.77.0.1/24\"\ndomain = \"{domain}\"\n")
    }

    fn choice(card: Result<&str, &str>, last_good: Result<&str, &str>) -> Result<Choice, String> {
        let own = |found: Result<&str, &str>| found.map(str::to_owned).map_err(str::to_owned);
        choose(vec![
            (Source::Card, own(card)),
            (Source::LastGood, own(last_good)),
            (Source::Default, Ok(lab("default.example"))),
        ])
    }

    #[test]
    fn the_first_valid_lab_is_in_force() {
        let expect = |found: Result<Choice, String>, source, domain: &str, problems: &[&str]| {
            let found = found.expect("a lab");
            assert_eq!(found.source, source);
            assert_eq!((found.text, found.lab.network.domain.as_str()), (lab(domain), domain));
            let problem = found.problem.unwrap_or_default();
            assert_eq!(problem.is_empty(), problems.is_empty(), "{problem}");
            for part in problems {
                assert!(problem.contains(part), "{part:?} in {problem}");
            }
        };
        let (mine, old) = (&lab("mine.example"), &lab("old.example"));
        expect(choice(Ok(mine), Ok(old)), Source::Card, "mine.example", &[]);
        expect(choice(Ok("bad = 1"), Ok(old)), Source::LastGood, "old.example", &["card: ", "bad"]);
        expect(
            choice(Err("no lab.toml"), Err("none yet")),
            Source::Default,
            "default.example",
            &["card: no lab.toml\nlast-good: none yet"],
        );
        expect(
            choice(Ok("bad = 1"), Ok("[")),
            Source::Default,
            "default.example",
            &["card: ", "last-good: "],
        );
    }

    #[test]
    fn no_valid_lab_names_every_fault() {
        let none = choose(vec![
            (Source::Card, Err("no lab.toml".to_owned())),
            (Source::Default, Err("gone".to_owned())),
        ]);
        assert_eq!(none, Err("card: no lab.toml\ndefault: gone".to_owned()));
    }
}

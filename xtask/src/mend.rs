//! What becomes of a lock whose packages the archives dropped: they are replaced, loudly, and nothing else is.

use pilotlight_card::{Update, gone, relock};

use crate::{Source, lock, ui};

/// A replacement can be gone in its turn, when the archives move meanwhile. They do not do so for ever.
const MOST_TIMES: usize = 3;

/// Does `action`, and again after each time that packages which nobody has any more were replaced in the lock. With
/// `--locked` nothing is replaced.
pub(crate) fn lock<T>(source: &Source, mut action: impl FnMut() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let mut times = 0;
    loop {
        let error = match action() {
            Err(error) if !source.locked && times < MOST_TIMES => error,
            other => return other,
        };
        let Some(files) = gone(&error) else { return Err(error) };
        let titles: Vec<&str> = files.iter().map(|file| file.title.as_str()).collect();
        let update = Update::Gone(files.iter().map(|file| file.sha256).collect());
        let changes = ui::workspace()
            .and_then(|workspace| relock(&workspace, &source.settings(), &update, lock::now()?))
            .map_err(|fault| fault.context(format!("{error:#}")))?;
        eprint!("{}", word(&titles, &changes.lines));
        times += 1;
    }
}

/// What is told about it.
fn word(titles: &[&str], lines: &[String]) -> String {
    let titles: String = titles.iter().map(|title| format!("  {title}\n")).collect();
    let lines: String = lines.iter().map(|line| format!("  {line}\n")).collect();
    format!(
        "warning: no mirror has these packages of pilotlight.lock any more, and no snapshot archive gave them:\n{titles}\
         warning: so pilotlight.lock was changed, and what is built now is something else than before:\n{lines}\
         warning: look at the change, then commit the file; --locked forbids it\n"
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_word() {
        insta::assert_snapshot!(super::word(&["bash 1 (armhf)"], &["bash:armhf 1 -> 2 (root)".into()]));
    }
}

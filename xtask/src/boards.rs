//! `cargo xtask boards`: the boards, and what is known of each without having it.

use std::{fmt::Write as _, process::ExitCode};

use pilotlight_card::{Architecture, Board, Settings, Workshop};

use crate::ui;

pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let workshop = Workshop::open(&ui::workspace()?, &Settings::default())?;
    print!("{}", told(&all(&workshop)?));
    Ok(ExitCode::SUCCESS)
}

/// Every board with each of its bases.
fn all(workshop: &Workshop) -> anyhow::Result<Vec<Board>> {
    let mut boards = Vec::new();
    for name in workshop.boards()? {
        for base in workshop.board(&name)?.0.bases {
            boards.push(workshop.board_with_base(&name, &base)?.0);
        }
    }
    Ok(boards)
}

fn told(boards: &[Board]) -> String {
    let mut text = String::new();
    for board in boards {
        let kernel = match board.kernel.architecture {
            Architecture::Armhf => "32-bit kernel",
            Architecture::Arm64 => "64-bit kernel",
        };
        let machine = match &board.emulator {
            Some(emulator) => format!("QEMU plays it as {}", emulator.machine),
            None => "QEMU does not play it".to_owned(),
        };
        _ = writeln!(text, "{:<12} {}; base {}, {kernel}; {machine}", board.name, board.title, board.base);
        for (what, list) in [("shown", &board.tried.shown), ("not shown", &board.tried.not_shown)] {
            for (at, item) in list.iter().enumerate() {
                _ = writeln!(text, "{:<12} {:<10} {item}", "", if at == 0 { what } else { "" });
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boards_of_the_tree() {
        let workshop = Workshop::open(&ui::workspace().unwrap(), &Settings::default()).unwrap();
        insta::assert_snapshot!(told(&all(&workshop).unwrap()));
    }
}

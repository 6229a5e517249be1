//! `cargo xtask boards`: the boards, and what is known of each without having it.

use std::{fmt::Write as _, process::ExitCode};

use pilotlight_card::{Architecture, Board, Settings, Workshop};

use crate::ui;

pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let workshop = Workshop::open(&ui::workspace()?, &Settings::default())?;
    let boards: anyhow::Result<Vec<Board>> =
        workshop.boards()?.iter().map(|name| Ok(workshop.board(name)?.0)).collect();
    print!("{}", told(&boards?));
    Ok(ExitCode::SUCCESS)
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
        let names = workshop.boards().unwrap();
        let boards: Vec<Board> = names.iter().map(|name| workshop.board(name).unwrap().0).collect();
        insta::assert_snapshot!(told(&boards));
    }
}

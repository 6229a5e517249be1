//! A guest's instructions, each by the program that it was spent on.
//!
//! The plugin in `crates/builder/counter` feeds a [`Tally`] while the guest runs and leaves it behind as a text,
//! which is read as a [`Report`]. Counting begins when the kernel has started the first program, `/init`.

use std::{collections::HashMap, fmt::Write as _};

/// The first program's name in the kernel.
const FIRST: &str = "init";
/// The task that runs when no other wants to.
const IDLE: &str = "swapper/";

/// Instructions executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spent {
    /// In the kernel.
    pub kernel: u64,
    /// In programs.
    pub user: u64,
}

impl Spent {
    /// Both.
    pub fn total(self) -> u64 {
        self.kernel + self.user
    }

    fn since(self, earlier: Self) -> Self {
        Self { kernel: self.kernel - earlier.kernel, user: self.user - earlier.user }
    }

    fn add(&mut self, more: Self) {
        self.kernel += more.kernel;
        self.user += more.user;
    }
}

/// All tasks of one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Their name in the kernel: at most 15 bytes.
    pub name: String,
    /// What was spent on them.
    pub spent: Spent,
    /// How many instructions there had been, without idling, when the first of them ran.
    pub first: u64,
}

impl Task {
    /// Whether this is the kernel waiting, with the interrupts that end the wait.
    pub fn is_idle(&self) -> bool {
        self.name.starts_with(IDLE)
    }
}

/// The account while the guest runs.
#[derive(Debug, Default)]
pub struct Tally {
    tasks: Vec<Task>,
    by_name: HashMap<String, usize>,
    current: Option<usize>,
    last: Spent,
    busy: u64,
}

impl Tally {
    /// From here on instructions are spent on `task`. `now` is what was spent since the guest was switched on.
    pub fn switch(&mut self, now: Spent, task: &str) {
        if self.tasks.is_empty() && task != FIRST {
            return;
        }
        self.account(now);
        if self.current.is_some_and(|current| self.tasks[current].name == task) {
            return;
        }
        self.current = Some(match self.by_name.get(task) {
            Some(known) => *known,
            None => {
                let new = self.tasks.len();
                self.tasks.push(Task { name: task.to_owned(), spent: Spent::default(), first: self.busy });
                self.by_name.insert(task.to_owned(), new);
                new
            }
        });
    }

    fn account(&mut self, now: Spent) {
        let spent = now.since(self.last);
        self.last = now;
        if let Some(task) = self.current.map(|current| &mut self.tasks[current]) {
            task.spent.add(spent);
            if !task.is_idle() {
                self.busy += spent.total();
            }
        }
    }

    /// The account as a text, for [`Report::parse`].
    pub fn render(mut self, now: Spent) -> String {
        self.account(now);
        let mut text = String::new();
        for Task { name, spent, first } in &self.tasks {
            // A program may call itself anything.
            let name: String = name.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
            let _ = writeln!(text, "{first}\t{}\t{}\t{name}", spent.kernel, spent.user);
        }
        text
    }
}

/// The account after the guest has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// All tasks, in the order in which they came.
    pub tasks: Vec<Task>,
}

impl Report {
    /// Reads what [`Tally::render`] wrote.
    ///
    /// # Errors
    /// The first line that is none of its.
    pub fn parse(text: &str) -> Result<Self, String> {
        let line = |line: &str| {
            let mut parts = line.splitn(4, '\t');
            let mut number = || parts.next()?.parse().ok();
            let (first, kernel, user) = (number()?, number()?, number()?);
            let name = parts.next()?.to_owned();
            Some(Task { name, spent: Spent { kernel, user }, first })
        };
        let tasks = text.lines().map(|text| line(text).ok_or_else(|| text.to_owned()));
        Ok(Self { tasks: tasks.collect::<Result<_, _>>()? })
    }

    /// All that was spent from the first program's first instruction on, idling left out.
    pub fn busy(&self) -> Spent {
        let mut sum = Spent::default();
        self.tasks.iter().filter(|task| !task.is_idle()).for_each(|task| sum.add(task.spent));
        sum
    }

    /// How many instructions there had been when a task of this name first ran.
    pub fn first(&self, name: &str) -> Option<u64> {
        self.tasks.iter().find(|task| task.name == name).map(|task| task.first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spent(kernel: u64, user: u64) -> Spent {
        Spent { kernel, user }
    }

    fn task(name: &str, kernel: u64, user: u64, first: u64) -> Task {
        Task { name: name.to_owned(), spent: spent(kernel, user), first }
    }

    #[test]
    fn each_instruction_is_spent_on_one_task_and_idling_is_left_out() {
        let mut tally = Tally::default();
        tally.switch(spent(1000, 0), "swapper/0");
        tally.switch(spent(1500, 3), "init");
        tally.switch(spent(1510, 4), "init");
        tally.switch(spent(1520, 8), "swapper/0");
        tally.switch(spent(9520, 8), "kworker/0:1");
        tally.switch(spent(9521, 8), "init");
        tally.switch(spent(9521, 9), "systemd");
        let report = Report::parse(&tally.render(spent(9600, 10))).expect("its own text");
        assert_eq!(
            report.tasks,
            [
                task("init", 20, 6, 0),
                task("swapper/0", 8000, 0, 25),
                task("kworker/0:1", 1, 0, 25),
                task("systemd", 79, 1, 27)
            ]
        );
        assert_eq!(report.busy(), spent(100, 7));
        assert_eq!((report.first("systemd"), report.first("none")), (Some(27), None));
    }

    #[test]
    fn names_may_be_anything_and_other_texts_are_refused() {
        let mut tally = Tally::default();
        tally.switch(spent(0, 0), "init");
        tally.switch(spent(0, 1), "a\tb\nc é");
        let report = Report::parse(&tally.render(spent(2, 1))).expect("its own text");
        assert_eq!(report.tasks[1], task("a?b?c é", 2, 0, 1));
        for bad in ["x", "1\t2\t3", "1\t2\tx\tname", "\n"] {
            assert!(Report::parse(bad).is_err(), "{bad:?}");
        }
    }
}

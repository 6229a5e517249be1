//! Programs run by the tests: always with an end.

use std::{
    io,
    os::unix::process::CommandExt as _,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

/// What a program said and how it ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// How it ended.
    pub status: ExitStatus,
    /// What it said, standard output first.
    pub text: String,
    /// How long it took.
    pub took: Duration,
}

/// Runs `command` to its end, or ends it after `limit` and fails.
pub fn run(command: &mut Command, limit: Duration) -> Result<Outcome> {
    end_with_this_thread(command);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let shown = shown(command);
    let start = Instant::now();
    let mut child = command.spawn().with_context(|| format!("could not start {shown}"))?;
    let (output, complaints) = (child.stdout.take(), child.stderr.take());
    let output = thread::spawn(move || read_all(output));
    let complaints = thread::spawn(move || read_all(complaints));
    let status = wait(&mut child, limit)?;
    if status.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let took = start.elapsed();
    let text = [output.join(), complaints.join()].map(Result::unwrap_or_default).concat();
    match status {
        Some(status) => Ok(Outcome { status, text, took }),
        None => bail!("{shown} did not end within {} s:\n{text}", limit.as_secs()),
    }
}

/// Runs `command` to its end and fails when it failed.
pub fn must(command: &mut Command, limit: Duration) -> Result<Outcome> {
    let outcome = run(command, limit)?;
    ensure!(outcome.status.success(), "{}: {}\n{}", shown(command), outcome.status, outcome.text);
    Ok(outcome)
}

/// Waits for a child's end, or until the time is up.
pub fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let end = Instant::now() + limit;
    loop {
        let status = child.try_wait().context("could not wait for a program")?;
        if status.is_some() || Instant::now() >= end {
            return Ok(status);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Has the kernel end the command's process when the calling thread ends, however it ends.
pub fn end_with_this_thread(command: &mut Command) {
    let end = || {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
        Ok(())
    };
    // SAFETY: between fork and exec one system call is made and nothing else.
    unsafe { command.pre_exec(end) };
}

fn read_all(pipe: Option<impl io::Read>) -> String {
    let mut bytes = Vec::new();
    // What came before a fault is still worth showing.
    let _ = pipe.map(|mut pipe| pipe.read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

fn shown(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    words.join(" ")
}

//! What the Pi knows of its machines: the lab as it is in force, and what was logged of them.

use std::path::PathBuf;

use clap::Args;
use pilotlight_kit::{Event, lab};
use pilotlight_lab::{Lab, paths};

use crate::events;

/// Where that lies.
#[derive(Debug, Args)]
pub(crate) struct Known {
    /// The folder of the log.
    #[arg(long, value_name = "FOLDER", default_value = paths::EVENTS_DIR)]
    log: PathBuf,
    /// The lab in force.
    #[arg(long, value_name = "FILE", default_value = paths::LAB)]
    lab: PathBuf,
    /// What has become of its nodes since.
    #[arg(long, value_name = "FILE", default_value = paths::LAB_STATE)]
    lab_state: PathBuf,
}

impl Known {
    /// The lab, with what has become of its nodes.
    pub(crate) fn lab(&self) -> anyhow::Result<Lab> {
        Ok(lab::load_now(&self.lab, &self.lab_state)?.as_ref().clone())
    }

    /// The log, oldest first.
    pub(crate) fn events(&self) -> anyhow::Result<Vec<Event>> {
        events::all(&self.log)
    }
}

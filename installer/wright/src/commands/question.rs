//! The question before something that cannot be undone at once.
use crate::error::CommandError;
use crate::settings::Settings;
use std::io::{BufRead, IsTerminal, Write};

/// Asks at the terminal whether to go on; `--yes` answers, and without a terminal the answer is no.
///
/// # Errors
/// The answer was no.
pub fn go_on(settings: &Settings) -> Result<(), CommandError> {
    if settings.yes || agreed()? {
        return Ok(());
    }
    Err(CommandError::failed("nothing was changed").hint("`--yes` answers the question"))
}

fn agreed() -> Result<bool, CommandError> {
    if !std::io::stdin().is_terminal() {
        return Ok(false);
    }
    eprint!("Go on? [y/N] ");
    std::io::stderr().flush().map_err(anyhow::Error::from)?;
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(anyhow::Error::from)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

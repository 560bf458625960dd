//! A machine's serial console on the user's terminal.
use std::{
    io::{self, Read, Write},
    net::Shutdown,
    os::{fd::AsFd, unix::net::UnixStream},
    path::Path,
    thread,
};

use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

use crate::error::{At, LabError};

/// Ctrl-] ends the connection, as in telnet and virsh.
const ESCAPE: u8 = 0x1d;

/// Joins this terminal with the console whose socket is `path`, until Ctrl-] or until the machine is off.
///
/// # Errors
/// When the socket does not answer: the machine is off, or somebody else is connected.
pub fn attach(path: &Path) -> Result<(), LabError> {
    let mut stream = UnixStream::connect(path).at("connect to", path)?;
    let mut output = stream.try_clone().at("connect to", path)?;
    let _raw = RawTerminal::enter();
    let reader = thread::spawn(move || {
        let mut buffer = [0; 4096];
        let mut screen = io::stdout();
        while let Ok(n) = output.read(&mut buffer) {
            let Some(bytes) = buffer.get(..n).filter(|bytes| !bytes.is_empty()) else {
                break;
            };
            if screen
                .write_all(bytes)
                .and_then(|()| screen.flush())
                .is_err()
            {
                break;
            }
        }
        // The machine is off: there is nobody left to type to.
        ended();
    });
    let mut byte = [0];
    while io::stdin().read(&mut byte).is_ok_and(|n| n == 1) && byte[0] != ESCAPE {
        if stream.write_all(&byte).is_err() {
            break;
        }
    }
    // Both directions are done with, whichever ended first.
    let _ = stream.shutdown(Shutdown::Both);
    let _ = reader.join();
    Ok(())
}

fn ended() {
    let _ = writeln!(io::stderr(), "\r\nthe console is closed; press a key\r");
}

/// The terminal without echo and line editing; as it was before when dropped.
struct RawTerminal(Termios);

impl RawTerminal {
    /// `None` when standard input is no terminal: then there is nothing to change.
    fn enter() -> Option<Self> {
        let before = tcgetattr(io::stdin().as_fd()).ok()?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(io::stdin().as_fd(), SetArg::TCSANOW, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin().as_fd(), SetArg::TCSANOW, &self.0);
    }
}

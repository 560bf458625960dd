//! A machine's serial console: on the user's terminal, and its last words.
use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    net::Shutdown,
    os::{fd::AsFd, unix::net::UnixStream},
    path::Path,
    thread,
};

use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

use crate::error::{At, LabError};

/// More than any screen of last words.
const TAIL_BYTES: u64 = 64 << 10;
const LINE_CHARS_MAX: usize = 200;

/// The last `lines` lines of a console's log that say something, without what moves a cursor or colours.
pub(crate) fn tail(log: &Path, lines: usize) -> Vec<String> {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let end = file.seek(SeekFrom::End(0))?;
        file.seek(SeekFrom::Start(end.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    last_lines(&String::from_utf8_lossy(&read().unwrap_or_default()), lines)
}

fn last_lines(text: &str, lines: usize) -> Vec<String> {
    let plain = without_escapes(text);
    let mut last: Vec<String> = plain
        .lines()
        .rev()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .take(lines)
        .map(|line| line.chars().take(LINE_CHARS_MAX).collect())
        .collect();
    last.reverse();
    last
}

/// ECMA-48: `ESC [`, parameters, and a letter; any other sequence of ours is `ESC` and one character.
/// Firmware moves the cursor instead of ending a line.
fn without_escapes(text: &str) -> String {
    let mut plain = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\x1b' => {
                if characters.next() == Some('[') {
                    let last = characters.find(|c| ('\x40'..='\x7e').contains(c));
                    if matches!(last, Some('H' | 'f' | 'J')) {
                        plain.push('\n');
                    }
                }
            }
            '\r' => plain.push('\n'),
            '\n' => plain.push('\n'),
            _ if character.is_control() => {}
            _ => plain.push(character),
        }
    }
    plain
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_read_without_escapes() {
        let text = "old\n\x1b[2J\x1b[01;01HSeaBIOS (version 1.16)\r\n\r\nBooting from Hard Disk...\r\n\x1b[0;31mNo bootable device.\x1b[0m\x07  \r\n\x1b[";
        assert_eq!(
            last_lines(text, 3),
            [
                "SeaBIOS (version 1.16)",
                "Booting from Hard Disk...",
                "No bootable device."
            ]
        );
        assert_eq!(last_lines(&"x".repeat(1000), 9), ["x".repeat(200)]);
        assert!(tail(Path::new("/no/such/log"), 9).is_empty());
    }
}

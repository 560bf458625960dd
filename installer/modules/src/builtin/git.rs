//! `git`: a working copy of a repository at a certain version, by the node's own git.
use std::path::Path;

use agent_protocol::task::TaskResult;

use crate::args::Args;
use crate::context::{Context, Fault, With, changed};
use crate::http::without_credentials;
use crate::process::{Output, Start, words};
use crate::spec::{Arg, Effect, Kind, Module};
use crate::text::git::{Found, resolve};

pub const GIT: Module = Module::new(
    "git",
    "Clone a repository, or bring a clone to a version",
    Effect::Converges,
    ARGS,
    run,
);

const ARGS: &[Arg] = &[
    Arg::new("repo", Kind::Text, "the repository's address")
        .aliases(&["name"])
        .required(),
    Arg::new("dest", Kind::Path, "the folder of the clone").required(),
    Arg::new("version", Kind::Text, "branch, tag or commit").default("HEAD"),
    Arg::new(
        "remote",
        Kind::Text,
        "what the repository is called in the clone",
    )
    .default("origin"),
    Arg::new("refspec", Kind::Text, "more references to fetch"),
    Arg::new("force", Kind::Flag, "throw local changes away").default("false"),
    Arg::new("clone", Kind::Flag, "clone where there is no clone").default("true"),
    Arg::new("update", Kind::Flag, "fetch what is new").default("true"),
    Arg::new("depth", Kind::Int, "fetch no more commits than this"),
    Arg::new("bare", Kind::Flag, "without files").default("false"),
    Arg::new("recursive", Kind::Flag, "with submodules").default("true"),
    Arg::new(
        "track_submodules",
        Kind::Flag,
        "submodules at their branch's newest commit",
    )
    .default("false"),
    Arg::new("single_branch", Kind::Flag, "fetch no other branch").default("false"),
    Arg::new("reference", Kind::Text, "local repository to borrow from"),
    Arg::new("verify_commit", Kind::Flag, "the commit must be signed").default("false"),
    Arg::new(
        "accept_hostkey",
        Kind::Flag,
        "trust whatever key the SSH server has",
    )
    .default("false"),
    Arg::new(
        "accept_newhostkey",
        Kind::Flag,
        "trust an SSH server that is not known yet",
    )
    .default("false"),
    Arg::new("ssh_opts", Kind::Text, "more arguments for ssh").default(""),
    Arg::new("key_file", Kind::Path, "private key for ssh"),
    Arg::new("executable", Kind::Path, "the git to use").default("git"),
];

struct Git<'a> {
    args: &'a Args,
    /// Of the clone, as this process opens it.
    dest: String,
    repo: &'a str,
}

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    for name in ["repo", "version", "remote"] {
        if args.need(name).starts_with('-') || args.need(name).is_empty() {
            return Err(Fault::new(format!(
                "{name} cannot be `{}`",
                args.need(name)
            )));
        }
    }
    if args.int("depth").is_some_and(|depth| depth < 1) {
        return Err(Fault::new("depth must be at least 1"));
    }
    environment(context, args)?;
    let git = Git {
        args,
        dest: context.path(args.need("dest")).display().to_string(),
        repo: args.need("repo"),
    };
    let inner = if args.flag("bare") { "HEAD" } else { ".git" };
    let is_clone = Path::new(&git.dest).join(inner).exists();
    match is_clone {
        true => update(context, &git),
        false => clone(context, &git),
    }
}

fn environment(context: &mut Context<'_>, args: &Args) -> Result<(), Fault> {
    let mut ssh = vec!["ssh".to_owned()];
    if let Some(key) = args.text("key_file") {
        let key = context.path(key).display().to_string();
        ssh.extend(words(&["-i", &key, "-o", "IdentitiesOnly=yes"]));
    }
    if args.flag("accept_hostkey") {
        ssh.extend(words(&["-o", "StrictHostKeyChecking=no"]));
    } else if args.flag("accept_newhostkey") {
        ssh.extend(words(&["-o", "StrictHostKeyChecking=accept-new"]));
    }
    let quoted: Result<Vec<_>, _> = ssh.iter().map(|word| shlex::try_quote(word)).collect();
    let quoted = quoted.map_err(|_| Fault::new("key_file has a character that no path has"))?;
    let mut ssh = quoted.join(" ");
    if !args.need("ssh_opts").is_empty() {
        ssh = format!("{ssh} {}", args.need("ssh_opts"));
    }
    // BatchMode: a question could be answered by nobody.
    context
        .environment
        .push(("GIT_SSH_COMMAND".into(), format!("{ssh} -o BatchMode=yes")));
    context
        .environment
        .push(("GIT_TERMINAL_PROMPT".into(), "0".into()));
    Ok(())
}

impl Git<'_> {
    fn output(&self, context: &mut Context<'_>, words: &[&str]) -> Result<Output, Fault> {
        let mut argv = vec![self.args.need("executable")];
        argv.extend(words);
        let output = context.start(Start {
            argv,
            ..Start::default()
        })?;
        Ok(Output {
            // git repeats the address with its password.
            stderr: output
                .stderr
                .replace(self.repo, &without_credentials(self.repo).0),
            ..output
        })
    }

    fn must(&self, context: &mut Context<'_>, words: &[&str]) -> Result<String, Fault> {
        let output = self.output(context, words)?;
        if output.rc == 0 {
            return Ok(output.stdout);
        }
        let verb = words
            .iter()
            .find(|word| !word.starts_with('-') && **word != self.dest);
        Err(Fault::WithData {
            msg: format!(
                "`git {}` failed: {}",
                verb.unwrap_or(&""),
                output.stderr.trim()
            ),
            data: output.data(),
        })
    }

    /// In the clone.
    fn inside(&self, context: &mut Context<'_>, words: &[&str]) -> Result<String, Fault> {
        self.must(context, &[&["-C", self.dest.as_str()], words].concat())
    }

    fn head(&self, context: &mut Context<'_>) -> Result<Option<String>, Fault> {
        let output = self.output(
            context,
            &["-C", &self.dest, "rev-parse", "--verify", "-q", "HEAD"],
        )?;
        Ok((output.rc == 0).then(|| output.stdout.trim().to_owned()))
    }

    /// What the version is on the remote, without fetching it.
    fn resolve(&self, context: &mut Context<'_>) -> Result<Found, Fault> {
        let listed = self.must(context, &["ls-remote", "--symref", "--", self.repo])?;
        let version = self.args.need("version");
        resolve(&listed, version).ok_or_else(|| {
            Fault::new(format!(
                "the repository has no branch, tag or commit `{version}`"
            ))
        })
    }
}

fn result(before: Option<&str>, after: Option<&str>) -> TaskResult {
    changed(before != after)
        .with("before", before)
        .with("after", after)
}

fn clone(context: &mut Context<'_>, git: &Git<'_>) -> Result<TaskResult, Fault> {
    let args = git.args;
    if Path::new(&git.dest)
        .read_dir()
        .is_ok_and(|mut entries| entries.next().is_some())
    {
        return Err(Fault::new(format!(
            "{} is a folder with something in it, but no clone",
            args.need("dest")
        )));
    }
    let found = git.resolve(context)?;
    if !args.flag("clone") || context.check {
        return Ok(result(None, Some(found.commit())));
    }
    if let Some(folder) = Path::new(&git.dest).parent() {
        std::fs::create_dir_all(folder).map_err(Fault::io(format!("make {}", folder.display())))?;
    }
    let remote = args.need("remote");
    let depth = args.int("depth").map(|depth| depth.to_string());
    let mut words = vec!["clone", "-q", "--origin", remote];
    if args.flag("bare") {
        words.push("--bare");
    } else {
        words.push("--no-checkout");
    }
    if args.flag("single_branch") {
        words.push("--single-branch");
    }
    if let Some(reference) = args.text("reference") {
        words.extend(["--reference", reference]);
    }
    if let (Found::Branch { name, .. } | Found::Tag { name, .. }, false) =
        (&found, args.flag("bare"))
    {
        words.extend(["--branch", name]);
        if let Some(depth) = &depth {
            words.extend(["--depth", depth, "--no-single-branch"]);
            if args.flag("single_branch") {
                words.pop();
            }
        }
    }
    words.extend(["--", git.repo, &git.dest]);
    let cloned = git.must(context, &words);
    if let Err(fault) = cloned {
        // Half a clone would be taken for a whole one next time.
        let _ = std::fs::remove_dir_all(&git.dest);
        return Err(fault);
    }
    if !args.flag("bare") {
        fetch_more(context, git, &found)?;
        switch(context, git, &found)?;
    }
    let after = git.head(context)?;
    Ok(result(None, after.as_deref()))
}

fn update(context: &mut Context<'_>, git: &Git<'_>) -> Result<TaskResult, Fault> {
    let args = git.args;
    let before = git.head(context)?;
    let remote = args.need("remote");
    let address = git.output(
        context,
        &[
            "-C",
            &git.dest,
            "config",
            "--get",
            &format!("remote.{remote}.url"),
        ],
    )?;
    let moved = address.stdout.trim() != git.repo;
    let bare = args.flag("bare");
    let dirty = !bare
        && git
            .inside(context, &["status", "--porcelain", "--untracked-files=no"])?
            .lines()
            .any(|line| !line.trim().is_empty());
    if !args.flag("update") {
        return Ok(result(before.as_deref(), before.as_deref()));
    }
    if dirty && !args.flag("force") {
        return Err(Fault::WithData {
            msg: format!(
                "Local modifications exist in the destination: {} (force=no).",
                args.need("dest")
            ),
            data: result(before.as_deref(), before.as_deref()).data,
        });
    }
    let found = git.resolve(context)?;
    let same = before
        .as_deref()
        .is_some_and(|before| before.starts_with(found.commit()));
    let foretold = |after: Option<&str>| {
        let mut result = result(before.as_deref(), after);
        result.changed |= dirty || moved;
        if moved {
            result = result.with("remote_url_changed", true);
        }
        result
    };
    if same && !dirty && !moved && !stale_submodules(context, git)? {
        return Ok(foretold(before.as_deref()));
    }
    if context.check {
        let mut result = foretold(if same {
            before.as_deref()
        } else {
            Some(found.commit())
        });
        result.changed = true;
        return Ok(result);
    }
    if moved {
        let key = format!("remote.{remote}.url");
        git.inside(context, &["config", &key, git.repo])?;
    }
    if bare {
        git.inside(
            context,
            &[
                "fetch",
                "-q",
                "--prune",
                remote,
                "+refs/heads/*:refs/heads/*",
                "+refs/tags/*:refs/tags/*",
            ],
        )?;
    } else {
        fetch(context, git, &found)?;
        switch(context, git, &found)?;
    }
    let after = git.head(context)?;
    let mut result = foretold(after.as_deref());
    result.changed = true;
    Ok(result)
}

fn fetch(context: &mut Context<'_>, git: &Git<'_>, found: &Found) -> Result<(), Fault> {
    let remote = git.args.need("remote");
    let depth = git.args.int("depth").map(|depth| depth.to_string());
    let mut words = vec!["fetch", "-q", "--force"];
    let spec;
    match (&depth, found) {
        (Some(depth), Found::Branch { name, .. }) => {
            spec = format!("+refs/heads/{name}:refs/remotes/{remote}/{name}");
            words.extend(["--depth", depth, remote, &spec]);
        }
        (Some(depth), Found::Tag { name, .. }) => {
            spec = format!("+refs/tags/{name}:refs/tags/{name}");
            words.extend(["--depth", depth, remote, &spec]);
        }
        _ => words.extend(["--tags", remote]),
    }
    git.inside(context, &words)?;
    fetch_more(context, git, found)
}

/// What the clone lacks: references that the user names, and a commit that no branch leads to.
fn fetch_more(context: &mut Context<'_>, git: &Git<'_>, found: &Found) -> Result<(), Fault> {
    let remote = git.args.need("remote");
    if let Some(refspec) = git.args.text("refspec") {
        git.inside(context, &["fetch", "-q", "--force", remote, refspec])?;
    }
    let wanted = format!("{}^{{commit}}", found.commit());
    let there = git.output(context, &["-C", &git.dest, "cat-file", "-e", &wanted])?;
    if there.rc != 0 {
        git.inside(context, &["fetch", "-q", "--force", remote, found.commit()])?;
    }
    Ok(())
}

fn switch(context: &mut Context<'_>, git: &Git<'_>, found: &Found) -> Result<(), Fault> {
    let remote = git.args.need("remote");
    match found {
        Found::Branch { name, commit } => {
            git.inside(context, &["checkout", "-q", "--force", "-B", name, commit])?;
            let upstream = format!("{remote}/{name}");
            // A clone without the remote's branches has none to follow.
            let _ = git.output(
                context,
                &[
                    "-C",
                    &git.dest,
                    "branch",
                    "-q",
                    "--set-upstream-to",
                    &upstream,
                    name,
                ],
            )?;
        }
        found => {
            git.inside(
                context,
                &["checkout", "-q", "--force", "--detach", found.commit()],
            )?;
        }
    }
    if git.args.flag("verify_commit") {
        git.inside(context, &["verify-commit", "HEAD"])?;
    }
    if git.args.flag("recursive") && Path::new(&git.dest).join(".gitmodules").exists() {
        git.inside(context, &["submodule", "sync", "-q", "--recursive"])?;
        let mut words = vec![
            "submodule",
            "update",
            "-q",
            "--init",
            "--recursive",
            "--force",
        ];
        if git.args.flag("track_submodules") {
            words.push("--remote");
        }
        git.inside(context, &words)?;
    }
    Ok(())
}

/// Whether a submodule is not where the commit says.
fn stale_submodules(context: &mut Context<'_>, git: &Git<'_>) -> Result<bool, Fault> {
    let args = git.args;
    if args.flag("bare")
        || !args.flag("recursive")
        || !Path::new(&git.dest).join(".gitmodules").exists()
    {
        return Ok(false);
    }
    let status = git.inside(context, &["submodule", "status", "--recursive"])?;
    let marks: &[char] = match args.flag("track_submodules") {
        // These are meant to be elsewhere.
        true => &['-', 'U'],
        false => &['-', '+', 'U'],
    };
    Ok(status.lines().any(|line| line.starts_with(marks)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::testing::{Bench, has};
    use serde_json::json;
    use std::process::Command;

    /// A repository with two commits, a branch and a tag. `None` without git.
    fn repository(bench: &Bench) -> Option<String> {
        if !has("git") {
            eprintln!("skipped: git is not there");
            return None;
        }
        let repo = bench.path("/upstream");
        std::fs::create_dir_all(&repo).unwrap();
        let script = "git init -q -b main . && echo one > f && git add f && git commit -q -m one && git tag -a v1 -m v1 \
            && git checkout -q -b next && echo two > f && git commit -q -am two && git checkout -q main";
        sh(&repo, script);
        Some(repo.display().to_string())
    }

    fn sh(folder: &Path, script: &str) -> String {
        let output = Command::new("sh")
            .args(["-c", script])
            .current_dir(folder)
            .envs([
                ("GIT_AUTHOR_NAME", "a"),
                ("GIT_AUTHOR_EMAIL", "a@b"),
                ("GIT_COMMITTER_NAME", "a"),
                ("GIT_COMMITTER_EMAIL", "a@b"),
                ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ])
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    #[test]
    fn a_clone_is_made_and_follows() {
        let bench = Bench::new();
        let Some(repo) = repository(&bench) else {
            return;
        };
        std::fs::create_dir(bench.path("/srv")).unwrap();
        let made = bench.run("git", json!({"repo": repo, "dest": "/srv/app"}));
        assert!(made.changed && made.data["before"].is_null(), "{made:?}");
        assert_eq!(bench.read("/srv/app/f"), "one\n");
        let args = |version: &str| json!({"repo": repo, "dest": "/srv/app", "version": version});
        assert!(!bench.run("git", args("HEAD")).changed);
        for (version, text) in [("next", "two\n"), ("v1", "one\n"), ("main", "one\n")] {
            let foretold = bench.check("git", args(version));
            let done = bench.run("git", args(version));
            assert!(!done.failed, "{done:?}");
            // v1 and main are the same commit.
            assert_eq!(done.changed, version != "main", "{version}: {done:?}");
            assert_eq!(
                (foretold.changed, &foretold.data["after"]),
                (done.changed, &done.data["after"]),
                "{version}"
            );
            assert_eq!(bench.read("/srv/app/f"), text);
            assert!(!bench.run("git", args(version)).changed, "{version}");
        }
        sh(
            &bench.path("/upstream"),
            "echo three > f && git commit -q -am three",
        );
        let commit = sh(&bench.path("/upstream"), "git rev-parse HEAD");
        let followed = bench.run("git", args("main"));
        assert_eq!(followed.data["after"], json!(commit), "{followed:?}");
        assert!(!bench.run("git", args(&commit[..12])).changed);
    }

    #[test]
    fn local_changes_are_kept_unless_forced() {
        let bench = Bench::new();
        let Some(repo) = repository(&bench) else {
            return;
        };
        let args = |force: bool| json!({"repo": repo, "dest": "/app", "version": "next", "force": force, "depth": 1});
        // A depth needs a protocol, not a path.
        let mut first = args(false);
        first["repo"] = json!(format!("file://{repo}"));
        assert!(bench.run("git", first).changed);
        bench.write("/app/f", "mine\n");
        bench.write("/app/untracked", "");
        let refused = bench.run("git", args(false));
        assert!(
            refused.msg.starts_with("Local modifications exist"),
            "{refused:?}"
        );
        let forced = bench.run("git", args(true));
        assert!(
            forced.changed && forced.data["remote_url_changed"] == true,
            "{forced:?}"
        );
        assert_eq!(
            (
                bench.read("/app/f").as_str(),
                bench.path("/app/untracked").exists()
            ),
            ("two\n", true)
        );
        assert!(!bench.run("git", args(true)).changed);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let bench = Bench::new();
        let Some(repo) = repository(&bench) else {
            return;
        };
        bench.write("/full/file", "");
        for args in [
            json!({"repo": repo, "dest": "/full"}),
            json!({"repo": repo, "dest": "/new", "version": "none"}),
            json!({"repo": "--upload-pack=x", "dest": "/new"}),
            json!({"repo": repo, "dest": "/new", "depth": 0}),
        ] {
            assert!(bench.run("git", args).failed);
        }
        let secret = bench.run(
            "git",
            json!({"repo": "http://me:s3cret@127.0.0.1:1/x", "dest": "/new"}),
        );
        assert!(
            secret.failed && !format!("{secret:?}").contains("s3cret"),
            "{secret:?}"
        );
        assert!(!bench.path("/new").exists());
    }
}

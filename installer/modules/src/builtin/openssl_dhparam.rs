//! `openssl_dhparam`: parameters for a Diffie-Hellman exchange. Making them takes minutes.
use agent_protocol::task::TaskResult;

use super::openssl::{
    BACKEND, BACKUP, FORCE, PATH, RETURN_CONTENT, STATE, keep, openssl, read, remove, succeeded,
    write,
};
use crate::args::Args;
use crate::attributes::Attributes;
use crate::context::{Context, Fault, With, changed};
use crate::spec::{Arg, Effect, Kind, Module};
use crate::text::openssl_text::pem;

pub const OPENSSL_DHPARAM: Module = Module::new(
    "openssl_dhparam",
    "Make Diffie-Hellman parameters",
    Effect::Converges,
    ARGS,
    run,
)
.file_args();

const ARGS: &[Arg] = &[
    PATH,
    STATE,
    FORCE,
    Arg::new("size", Kind::Int, "bits").default("4096"),
    BACKUP,
    RETURN_CONTENT,
    BACKEND,
];

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    if args.need("state") == "absent" {
        return remove(context, args);
    }
    let (path, size) = (args.need("path"), args.int("size").unwrap_or(4096));
    let attributes = Attributes::of(context, args)?;
    let mut content = read(context, path)?;
    let now = match &content {
        Some(text) => bits(context, text)?,
        None => None,
    };
    let mut result = if now == Some(size) && !args.flag("force") {
        keep(context, args, &attributes)?
    } else if context.check {
        changed(true)
    } else {
        let bits = size.to_string();
        let words = ["dhparam", &bits];
        let output = openssl(context, &words, None, &[])?;
        let made = succeeded(&words, output)?;
        let text =
            pem(&made, "DH PARAMETERS").ok_or_else(|| Fault::new("openssl gave no parameters"))?;
        let result = write(context, args, &text, attributes)?;
        content = Some(text);
        result
    };
    let before = now.map(|bits| format!("{bits} bits\n")).unwrap_or_default();
    let after = format!(
        "{size} bits{}\n",
        if now == Some(size) && result.changed {
            ", new"
        } else {
            ""
        }
    );
    result.diff = context.diff_of(path, &before, &after);
    if let Some(content) =
        content.filter(|_| args.flag("return_content") && (!context.check || !result.changed))
    {
        result = result.with("dhparams", content);
    }
    Ok(result.with("filename", path).with("size", size))
}

/// The length of the parameters in a file; `None` if there are none in it.
fn bits(context: &mut Context<'_>, text: &str) -> Result<Option<i64>, Fault> {
    let words = ["dhparam", "-noout", "-text"];
    let output = openssl(context, &words, Some(text.into()), &[])?;
    let found = output.stdout.split_once("DH Parameters: (");
    Ok(found.and_then(|(_, rest)| rest.split_once(" bit")?.0.parse().ok()))
}

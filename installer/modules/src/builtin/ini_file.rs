//! `ini_file`: one option of a section.
use agent_protocol::task::TaskResult;

use super::replace;
use crate::args::Args;
use crate::context::{Context, Fault};
use crate::spec::{Arg, Effect, Kind, Module};
use crate::text::ini::{self, Style};

pub const INI_FILE: Module = Module::new(
    "ini_file",
    "Set or remove one option of an INI file",
    Effect::Converges,
    ARGS,
    run,
)
.file_args()
.exclusive(&[&["value", "values"]]);

const ARGS: &[Arg] = &[
    Arg::new("path", Kind::Path, "the file")
        .aliases(&["dest"])
        .required(),
    Arg::new(
        "section",
        Kind::Text,
        "section; none: the lines before the first",
    )
    .default(""),
    Arg::new(
        "option",
        Kind::Text,
        "name of the option; with state=absent, none: the whole section",
    ),
    Arg::new("value", Kind::Text, "its value"),
    Arg::new("values", Kind::List, "several values, a line each"),
    Arg::new("exclusive", Kind::Flag, "no other values of that option").default("true"),
    Arg::new(
        "ignore_spaces",
        Kind::Flag,
        "other blanks around = are no change",
    )
    .default("false"),
    Arg::new(
        "modify_inactive_option",
        Kind::Flag,
        "a commented option of that name is replaced",
    )
    .default("true"),
    Arg::new(
        "follow",
        Kind::Flag,
        "accepted for compatibility: links are followed",
    )
    .default("false"),
    Arg::new("state", Kind::Text, "whether it is to be there")
        .choices(&["present", "absent"])
        .default("present"),
    Arg::new("no_extra_spaces", Kind::Flag, "no blanks around =").default("false"),
    Arg::new("allow_no_value", Kind::Flag, "an option may stand alone").default("false"),
    Arg::new("create", Kind::Flag, "make a file that is not there").default("true"),
    Arg::new("backup", Kind::Flag, "keep the old file").default("false"),
];

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let (section, option) = (args.need("section"), args.text("option"));
    let present = args.need("state") == "present";
    let Some(before) = replace::read(context, args, present)? else {
        return Ok(TaskResult::default());
    };
    let style = Style {
        no_extra_spaces: args.flag("no_extra_spaces"),
        allow_no_value: args.flag("allow_no_value"),
        ignore_spaces: args.flag("ignore_spaces"),
        uncomment: args.flag("modify_inactive_option"),
    };
    let values = args.list("values").unwrap_or_default();
    let after = match (present, option) {
        (true, None) => return Err(Fault::new("option is required with state=present")),
        (true, Some(option)) if !values.is_empty() => ini::set_all(
            &before,
            section,
            option,
            &values,
            args.flag("exclusive"),
            &style,
        ),
        (true, Some(_)) if args.text("value").is_none() && !style.allow_no_value => {
            return Err(Fault::new("value is required unless allow_no_value=true"));
        }
        (true, Some(option)) => ini::set(&before, section, option, args.text("value"), &style),
        (false, option) => ini::remove(&before, section, option),
    };
    replace::write(context, args, &before, &after)
}

#[cfg(test)]
mod tests {
    use crate::builtin::testing::Bench;
    use serde_json::json;

    #[test]
    fn an_option_is_made_changed_and_removed() {
        let bench = Bench::new();
        bench.write("/etc/keep", "");
        bench.converges(
            "ini_file",
            json!({"path": "/etc/x.ini", "section": "a", "option": "b", "value": 1}),
        );
        bench.converges(
            "ini_file",
            json!({"path": "/etc/x.ini", "section": "a", "option": "b", "value": true}),
        );
        assert_eq!(bench.read("/etc/x.ini"), "[a]\nb = True\n");
        bench.converges(
            "ini_file",
            json!({"path": "/etc/x.ini", "section": "a", "option": "b", "state": "absent"}),
        );
        bench.converges(
            "ini_file",
            json!({"path": "/etc/x.ini", "section": "a", "option": "c", "values": ["1", "2"], "no_extra_spaces": true}),
        );
        bench.converges(
            "ini_file",
            json!({"path": "/etc/x.ini", "section": "a", "option": "c", "values": ["2", "3"], "no_extra_spaces": true}),
        );
        assert_eq!(bench.read("/etc/x.ini"), "[a]\nc=2\nc=3\n");
        bench.converges(
            "ini_file",
            json!({"path": "/etc/x.ini", "section": "a", "option": "c", "values": ["4"], "exclusive": false}),
        );
        assert!(
            !bench
                .run("ini_file", json!({"path": "/etc/x.ini", "section": "a", "option": "c", "value": "2", "ignore_spaces": true}))
                .changed
        );
    }
}

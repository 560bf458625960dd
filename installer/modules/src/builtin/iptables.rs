//! `iptables`: one rule, policy or chain of the packet filter.
use agent_protocol::task::TaskResult;
use serde_json::Value;

use crate::args::Args;
use crate::context::{Context, Fault, With, changed};
use crate::process::words;
use crate::spec::{Arg, Effect, Kind, Module};

pub const IPTABLES: Module = Module::new(
    "iptables",
    "Manage a rule of the packet filter",
    Effect::Converges,
    ARGS,
    run,
)
.exclusive(&[
    &["set_dscp_mark", "set_dscp_mark_class"],
    &["flush", "policy"],
]);

const ARGS: &[Arg] = &[
    Arg::new("table", Kind::Text, "the table")
        .choices(&["filter", "nat", "mangle", "raw", "security"])
        .default("filter"),
    Arg::new("chain", Kind::Text, "the chain"),
    Arg::new("state", Kind::Text, "whether the rule is to be there")
        .choices(&["present", "absent"])
        .default("present"),
    Arg::new("action", Kind::Text, "where a new rule goes")
        .choices(&["append", "insert"])
        .default("append"),
    Arg::new("rule_num", Kind::Text, "place of a rule that is inserted"),
    Arg::new("ip_version", Kind::Text, "of which protocol")
        .choices(&["ipv4", "ipv6", "both"])
        .default("ipv4"),
    Arg::new("protocol", Kind::Text, "-p"),
    Arg::new("source", Kind::Text, "-s"),
    Arg::new("destination", Kind::Text, "-d"),
    Arg::new("match", Kind::List, "-m"),
    Arg::new("tcp_flags", Kind::Map, "flags, flags_set"),
    Arg::new("jump", Kind::Text, "-j"),
    Arg::new("goto", Kind::Text, "-g"),
    Arg::new("gateway", Kind::Text, "of the target TEE"),
    Arg::new("log_prefix", Kind::Text, "of the target LOG"),
    Arg::new("log_level", Kind::Text, "of the target LOG").choices(&[
        "0", "1", "2", "3", "4", "5", "6", "7", "emerg", "alert", "crit", "error", "warning",
        "notice", "info", "debug",
    ]),
    Arg::new("in_interface", Kind::Text, "-i"),
    Arg::new("out_interface", Kind::Text, "-o"),
    Arg::new("fragment", Kind::Text, "-f"),
    Arg::new("set_counters", Kind::Text, "-c"),
    Arg::new("source_port", Kind::Text, "--source-port"),
    Arg::new("destination_port", Kind::Text, "--destination-port"),
    Arg::new("destination_ports", Kind::List, "of the match multiport"),
    Arg::new("to_ports", Kind::Text, "of the target REDIRECT"),
    Arg::new("to_destination", Kind::Text, "of the target DNAT"),
    Arg::new("to_source", Kind::Text, "of the target SNAT"),
    Arg::new("syn", Kind::Text, "--syn")
        .choices(&["ignore", "match", "negate"])
        .default("ignore"),
    Arg::new("set_dscp_mark", Kind::Text, "of the target DSCP"),
    Arg::new("set_dscp_mark_class", Kind::Text, "of the target DSCP"),
    Arg::new("comment", Kind::Text, "of the match comment"),
    Arg::new("ctstate", Kind::List, "of the match conntrack"),
    Arg::new("src_range", Kind::Text, "of the match iprange"),
    Arg::new("dst_range", Kind::Text, "of the match iprange"),
    Arg::new("match_set", Kind::Text, "of the match set"),
    Arg::new("match_set_flags", Kind::Text, "of the match set")
        .choices(&["src", "dst", "src,dst", "dst,src", "src,src", "dst,dst"]),
    Arg::new("limit", Kind::Text, "of the match limit"),
    Arg::new("limit_burst", Kind::Text, "of the match limit"),
    Arg::new("uid_owner", Kind::Text, "of the match owner"),
    Arg::new("gid_owner", Kind::Text, "of the match owner"),
    Arg::new("reject_with", Kind::Text, "of the target REJECT"),
    Arg::new("icmp_type", Kind::Text, "--icmp-type"),
    Arg::new("flush", Kind::Flag, "remove all rules").default("false"),
    Arg::new("policy", Kind::Text, "what happens to what no rule takes")
        .choices(&["ACCEPT", "DROP", "QUEUE", "RETURN"]),
    Arg::new("wait", Kind::Text, "seconds to wait for another iptables"),
    Arg::new("chain_management", Kind::Flag, "make or remove the chain").default("false"),
    Arg::new("numeric", Kind::Flag, "accepted for compatibility").default("false"),
];

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let chain = args.text("chain");
    if chain.is_none() && !args.flag("flush") {
        return Err(Fault::new(
            "either chain or flush parameter must be specified.",
        ));
    }
    if chain.is_some_and(|chain| chain.is_empty() || chain.starts_with('-')) {
        return Err(Fault::new("chain is no name"));
    }
    if args.text("match_set").is_some() != args.text("match_set_flags").is_some() {
        return Err(Fault::new("match_set and match_set_flags go together"));
    }
    let programs: &[&str] = match args.need("ip_version") {
        "ipv4" => &["iptables"],
        "ipv6" => &["ip6tables"],
        _ => &["iptables", "ip6tables"],
    };
    let rule = rule(args).map_err(Fault::new)?;
    let mut result = changed(false)
        .with("table", args.need("table"))
        .with("chain", chain)
        .with("state", args.need("state"))
        .with("flush", args.flag("flush"))
        .with("ip_version", args.need("ip_version"))
        .with("rule", rule.join(" "));
    for program in programs {
        let plan = plan(context, args, program, chain.unwrap_or_default(), &rule)?;
        let done = context.carry_out(program, &plan)?;
        result.changed |= done.changed;
        result.diff.extend(done.diff);
    }
    Ok(result)
}

fn start(args: &Args, program: &str) -> Vec<String> {
    let mut argv = words(&[program, "-t", args.need("table")]);
    match args.text("wait") {
        Some(seconds) => argv.extend(words(&["-w", seconds])),
        None => argv.push("-w".into()),
    }
    argv
}

fn plan(
    context: &mut Context<'_>,
    args: &Args,
    program: &str,
    chain: &str,
    rule: &[String],
) -> Result<Vec<Vec<String>>, Fault> {
    let start = start(args, program);
    let command = |more: &[&str]| [start.clone(), words(more)].concat();
    let ask = |context: &mut Context<'_>, argv: &[String]| {
        context.output(&argv.iter().map(String::as_str).collect::<Vec<_>>())
    };
    if args.flag("flush") {
        let mut argv = command(&["-F"]);
        if !chain.is_empty() {
            argv.push(chain.to_owned());
        }
        let mut list = command(&["-S"]);
        if !chain.is_empty() {
            list.push(chain.to_owned());
        }
        // Nothing to flush is no change; what cannot be listed is flushed.
        let listed = ask(context, &list)?;
        let empty = listed.rc == 0 && !listed.stdout.lines().any(|line| line.starts_with("-A "));
        return Ok(if empty { Vec::new() } else { vec![argv] });
    }
    if let Some(policy) = args.text("policy") {
        let listed = ask(context, &command(&["-S", chain]))?;
        let now = listed
            .stdout
            .lines()
            .find_map(|line| line.strip_prefix("-P ")?.split(' ').nth(1));
        return Ok(match now == Some(policy) {
            true => Vec::new(),
            false => vec![command(&["-P", chain, policy])],
        });
    }
    let present = args.need("state") == "present";
    let mut plan = Vec::new();
    let manages = args.flag("chain_management");
    let has_chain = !manages || ask(context, &command(&["-S", chain]))?.rc == 0;
    if manages && rule.is_empty() {
        return Ok(match (present, has_chain) {
            (true, false) => vec![command(&["-N", chain])],
            (false, true) => vec![command(&["-X", chain])],
            _ => plan,
        });
    }
    if manages && present && !has_chain {
        plan.push(command(&["-N", chain]));
    }
    let check = [command(&["-C", chain]), rule.to_vec()].concat();
    let there = has_chain && ask(context, &check)?.rc == 0;
    match (present, there) {
        (true, false) => {
            let mut argv = match args.need("action") {
                "insert" => command(&["-I", chain]),
                _ => command(&["-A", chain]),
            };
            if let Some(number) = args
                .text("rule_num")
                .filter(|_| args.need("action") == "insert")
            {
                argv.push(number.to_owned());
            }
            argv.extend(rule.iter().cloned());
            plan.push(argv);
        }
        (false, true) => plan.push([command(&["-D", chain]), rule.to_vec()].concat()),
        _ => {}
    }
    Ok(plan)
}

/// The rule's own words.
fn rule(args: &Args) -> Result<Vec<String>, String> {
    let mut out: Vec<String> = Vec::new();
    // `!` before a value negates the option.
    let option = |out: &mut Vec<String>, option: &str, name: &str| {
        if let Some(value) = args.text(name) {
            match value.strip_prefix('!') {
                Some(value) => out.extend(words(&["!", option, value.trim()])),
                None => out.extend(words(&[option, value])),
            }
        }
    };
    let mut matches: Vec<String> = args
        .list("match")
        .unwrap_or_default()
        .into_iter()
        .map(str::to_owned)
        .collect();
    option(&mut out, "-p", "protocol");
    option(&mut out, "-s", "source");
    option(&mut out, "-d", "destination");
    for name in &matches {
        out.extend(words(&["-m", name]));
    }
    if let Some(flags) = args.map("tcp_flags").filter(|flags| !flags.is_empty()) {
        let list = |name: &str| -> Result<String, String> {
            let texts: Option<Vec<&str>> = flags
                .get(name)
                .and_then(Value::as_array)
                .and_then(|list| list.iter().map(Value::as_str).collect());
            texts
                .map(|texts| texts.join(","))
                .ok_or_else(|| format!("tcp_flags needs a list `{name}`"))
        };
        out.extend(words(&[
            "--tcp-flags",
            &list("flags")?,
            &list("flags_set")?,
        ]));
    }
    option(&mut out, "-j", "jump");
    option(&mut out, "--gateway", "gateway");
    option(&mut out, "--log-prefix", "log_prefix");
    option(&mut out, "--log-level", "log_level");
    option(&mut out, "--to-destination", "to_destination");
    let mut needs = |out: &mut Vec<String>, name: &str| {
        if !matches.iter().any(|known| known == name) {
            matches.push(name.to_owned());
            out.extend(words(&["-m", name]));
        }
    };
    if let Some(ports) = args
        .list("destination_ports")
        .filter(|ports| !ports.is_empty())
    {
        needs(&mut out, "multiport");
        out.extend(words(&["--dports", &ports.join(",")]));
    }
    option(&mut out, "--to-source", "to_source");
    option(&mut out, "-g", "goto");
    option(&mut out, "-i", "in_interface");
    option(&mut out, "-o", "out_interface");
    option(&mut out, "-f", "fragment");
    option(&mut out, "-c", "set_counters");
    option(&mut out, "--source-port", "source_port");
    option(&mut out, "--destination-port", "destination_port");
    option(&mut out, "--to-ports", "to_ports");
    option(&mut out, "--set-dscp", "set_dscp_mark");
    option(&mut out, "--set-dscp-class", "set_dscp_mark_class");
    match args.need("syn") {
        "match" => out.push("--syn".into()),
        "negate" => out.extend(words(&["!", "--syn"])),
        _ => {}
    }
    for (name, matcher, flag) in [
        ("src_range", "iprange", "--src-range"),
        ("dst_range", "iprange", "--dst-range"),
        ("limit", "limit", "--limit"),
        ("limit_burst", "limit", "--limit-burst"),
        ("uid_owner", "owner", "--uid-owner"),
        ("gid_owner", "owner", "--gid-owner"),
    ] {
        if args.text(name).is_some() {
            needs(&mut out, matcher);
            option(&mut out, flag, name);
        }
    }
    if let Some(states) = args.list("ctstate").filter(|states| !states.is_empty()) {
        let has_state = args.list("match").unwrap_or_default().contains(&"state");
        let flag = if has_state { "--state" } else { "--ctstate" };
        if !has_state {
            needs(&mut out, "conntrack");
        }
        out.extend(words(&[flag, &states.join(",")]));
    }
    if let (Some(set), Some(flags)) = (args.text("match_set"), args.text("match_set_flags")) {
        needs(&mut out, "set");
        match set.strip_prefix('!') {
            Some(set) => out.extend(words(&["!", "--match-set", set.trim(), flags])),
            None => out.extend(words(&["--match-set", set, flags])),
        }
    }
    if args.text("reject_with").is_some() {
        if args.text("jump").is_none() {
            out.extend(words(&["-j", "REJECT"]));
        }
        option(&mut out, "--reject-with", "reject_with");
    }
    if args.text("icmp_type").is_some() {
        let flag = if args.need("ip_version") == "ipv6" {
            "--icmpv6-type"
        } else {
            "--icmp-type"
        };
        option(&mut out, flag, "icmp_type");
    }
    if let Some(comment) = args.text("comment") {
        needs(&mut out, "comment");
        out.extend(words(&["--comment", comment]));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::testing::Bench;
    use serde_json::json;

    #[test]
    fn rules() {
        let module = crate::find("iptables").unwrap();
        let cases = [
            json!({"chain": "INPUT", "source": "8.8.8.8", "jump": "DROP"}),
            json!({"chain": "INPUT", "protocol": "tcp", "destination_port": 80, "ctstate": "NEW", "syn": "match", "jump": "ACCEPT", "comment": "the web"}),
            json!({"chain": "INPUT", "ctstate": ["ESTABLISHED", "RELATED"], "jump": "ACCEPT", "in_interface": "!eth0"}),
            json!({"chain": "PREROUTING", "table": "nat", "protocol": "tcp", "match": "tcp", "destination_port": 80, "jump": "REDIRECT", "to_ports": 8600}),
            json!({"chain": "POSTROUTING", "table": "nat", "out_interface": "eth0", "jump": "SNAT", "to_source": "10.0.0.1"}),
            json!({"chain": "INPUT", "protocol": "tcp", "destination_ports": ["80", "443", "8081:8083"], "jump": "ACCEPT"}),
            json!({"chain": "OUTPUT", "protocol": "tcp", "jump": "DROP", "tcp_flags": {"flags": ["ALL"], "flags_set": ["ACK", "RST"]}}),
            json!({"chain": "INPUT", "match_set": "!admins", "match_set_flags": "src", "reject_with": "tcp-reset", "limit": "2/second", "limit_burst": 20}),
            json!({"chain": "INPUT", "jump": "LOG", "log_prefix": "dropped: ", "log_level": "info", "src_range": "10.0.0.1-10.0.0.9"}),
        ];
        let text: Vec<String> = cases
            .iter()
            .map(|args| {
                rule(&module.check(args.as_object().unwrap()).unwrap())
                    .unwrap()
                    .join(" ")
            })
            .collect();
        insta::assert_snapshot!(text.join("\n"));
    }

    /// iptables as far as it matters here: rules are lines of a file.
    const IPTABLES: &str = r#"
shift 3; verb=$1; chain=$2; shift; [ -n "$chain" ] && shift
case $verb in
  -S) grep -q "^-[NP] $chain" $ROOT/rules || exit 1; grep -- " $chain" $ROOT/rules;;
  -C) grep -qxF -- "-A $chain $*" $ROOT/rules;;
  -A|-I) echo "-A $chain $*" >> $ROOT/rules;;
  -D) grep -vxF -- "-A $chain $*" $ROOT/rules > $ROOT/new; mv $ROOT/new $ROOT/rules;;
  -P) sed -i "s/^-P $chain .*/-P $chain $1/" $ROOT/rules;;
  -N) echo "-N $chain" >> $ROOT/rules;;
  -X) sed -i "/^-N $chain/d" $ROOT/rules;;
  -F) sed -i "/^-A $chain/d" $ROOT/rules;;
esac
"#;

    #[test]
    fn rules_policies_and_chains_come_and_go() {
        let bench = Bench::new();
        bench.write("/rules", "-P INPUT ACCEPT\n");
        bench.program("iptables", IPTABLES);
        let rule = json!({"chain": "INPUT", "source": "8.8.8.8", "jump": "DROP"});
        bench.converges("iptables", rule.clone());
        assert!(
            bench
                .read("/rules")
                .contains("-A INPUT -s 8.8.8.8 -j DROP\n")
        );
        let mut gone = rule.clone();
        gone["state"] = json!("absent");
        bench.converges("iptables", gone);
        bench.converges("iptables", json!({"chain": "INPUT", "policy": "DROP"}));
        bench.converges(
            "iptables",
            json!({"chain": "MINE", "chain_management": true}),
        );
        bench.converges("iptables", json!({"chain": "MINE", "jump": "ACCEPT"}));
        bench.converges("iptables", json!({"chain": "MINE", "flush": true}));
        bench.converges(
            "iptables",
            json!({"chain": "MINE", "chain_management": true, "state": "absent"}),
        );
        for args in [
            json!({"jump": "DROP"}),
            json!({"chain": "-F"}),
            json!({"chain": "INPUT", "match_set": "x"}),
            json!({"chain": "INPUT", "tcp_flags": {"flags": "ALL"}}),
            json!({"chain": "INPUT", "policy": "MAYBE"}),
        ] {
            assert!(bench.run("iptables", args).failed);
        }
    }
}

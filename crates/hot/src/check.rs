//! Checks of a template that need nothing but the template: argument shapes, names that do not exist.
use crate::{
    expr::{Expr, ExprKind, Function},
    template::{PSEUDO_PARAMETERS, Template},
    version::Version,
};
use diagnostics::Diagnostics;
use yaml_source::Fault;

/// What the function's arguments must look like, if they do not.
pub(crate) fn shape(function: Function, args: &Expr, version: Version) -> Result<(), &'static str> {
    let items = args.as_list().map_or(0, <[Expr]>::len);
    let dynamic = matches!(args.kind, ExprKind::Call(..));
    let has = |key: &str| args.get(key).is_some();
    let (fine, wanted) = match function {
        Function::GetResource => (args.as_str().is_some(), "the name of a resource"),
        Function::GetParam => (
            !matches!(args.kind, ExprKind::Map(_)),
            "the name of a parameter, or a list that begins with it",
        ),
        Function::GetAttr => (
            args.as_list()
                .and_then(<[Expr]>::first)
                .and_then(Expr::as_str)
                .is_some()
                && (items >= 2 || version >= Version::V2015_10_15),
            "[resource, attribute, path ...]",
        ),
        Function::GetFile => (dynamic || args.as_str().is_some(), "the name of a file"),
        Function::StrReplace | Function::StrReplaceStrict | Function::StrReplaceVstrict => (
            has("template") && has("params"),
            "a map of `template` and `params`",
        ),
        Function::Repeat => (
            has("template") && has("for_each"),
            "a map of `template` and `for_each`",
        ),
        Function::If => (
            items == 3 || (items == 2 && version.if_may_omit_else()),
            "[condition, value if true, value if false]",
        ),
        Function::ListJoin => (items >= 2, "[delimiter, list, ...]"),
        Function::StrSplit => (
            items == 2 || items == 3,
            "[delimiter, string] or [delimiter, string, index]",
        ),
        Function::Digest => (items == 2, "[algorithm, string]"),
        Function::Filter => (items == 2, "[values to drop, list]"),
        Function::Equals | Function::Contains => (items == 2, "a list of two values"),
        Function::And | Function::Or => (items >= 2, "a list of at least two conditions"),
        Function::MapReplace => (items == 2, "[map, {keys: ..., values: ...}]"),
        Function::MakeUrl => (
            dynamic || matches!(args.kind, ExprKind::Map(_)),
            "a map of the URL's parts",
        ),
        Function::ListConcat | Function::ListConcatUnique | Function::MapMerge => {
            (dynamic || args.as_list().is_some(), "a list")
        }
        Function::Not | Function::ResourceFacade => (true, ""),
    };
    if fine { Ok(()) } else { Err(wanted) }
}

/// Complains about every parameter, resource and condition that is named but not there.
pub(crate) fn references(template: &Template, diags: &mut Diagnostics) {
    for resource in template.resources.values() {
        for part in [
            Some(&resource.properties),
            Some(&resource.metadata),
            resource.update_policy.as_ref(),
        ] {
            part.into_iter()
                .for_each(|expr| values(expr, template, diags));
        }
        if let Some(condition) = &resource.condition {
            self::condition(condition, template, diags);
        }
        for (name, span) in &resource.depends_on {
            if !template.resources.contains_key(name) {
                let fault = span.error(format!("there is no resource `{name}`"));
                diags.push(fault.suggest(name, template.resources.keys().map(String::as_str)));
            }
        }
    }
    for output in template.outputs.values() {
        values(&output.value, template, diags);
        if let Some(condition) = &output.condition {
            self::condition(condition, template, diags);
        }
    }
    for expr in template.conditions.values() {
        self::condition(expr, template, diags);
        expr.walk(&mut |part| {
            if let ExprKind::Call(
                function @ (Function::GetResource | Function::GetAttr | Function::GetFile),
                _,
            ) = part.kind
            {
                diags.push(
                    part.span
                        .error(format!("a condition cannot use `{}`", function.name())),
                );
            }
        });
    }
}

fn condition(expr: &Expr, template: &Template, diags: &mut Diagnostics) {
    if let Some(name) = expr.as_str() {
        if !template.conditions.contains_key(name)
            && !["true", "false"].contains(&name.to_ascii_lowercase().as_str())
        {
            let fault = expr.span.error(format!("there is no condition `{name}`"));
            diags.push(fault.suggest(name, template.conditions.keys().map(String::as_str)));
        }
        return;
    }
    match &expr.kind {
        ExprKind::Call(Function::Not, inner) => condition(inner, template, diags),
        ExprKind::Call(Function::And | Function::Or, args) => {
            args.as_list()
                .unwrap_or_default()
                .iter()
                .for_each(|item| condition(item, template, diags));
        }
        _ => values(expr, template, diags),
    }
}

fn values(expr: &Expr, template: &Template, diags: &mut Diagnostics) {
    expr.walk(&mut |part| {
        let ExprKind::Call(function, args) = &part.kind else {
            return;
        };
        match function {
            Function::GetParam => {
                let name = args.as_str().or_else(|| args.as_list()?.first()?.as_str());
                if let Some(name) = name
                    && !template.parameters.contains_key(name)
                    && !PSEUDO_PARAMETERS.contains(&name)
                {
                    let fault = args.span.error(format!("there is no parameter `{name}`"));
                    let known = template.parameters.keys().map(String::as_str);
                    diags.push(fault.suggest(name, known.chain(PSEUDO_PARAMETERS.iter().copied())));
                }
            }
            Function::GetResource | Function::GetAttr => {
                if let Some(name) = part.referenced_resource()
                    && !template.resources.contains_key(name)
                {
                    let fault = args.span.error(format!("there is no resource `{name}`"));
                    diags.push(fault.suggest(name, template.resources.keys().map(String::as_str)));
                }
            }
            Function::If => {
                if let Some(first) = args.as_list().and_then(<[Expr]>::first)
                    && first.as_str().is_some()
                {
                    condition(first, template, diags);
                }
            }
            _ => {}
        }
    });
}

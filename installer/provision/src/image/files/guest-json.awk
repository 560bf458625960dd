# Flattens JSON: one line for each scalar, `path.of.keys<TAB>value`; line breaks in strings become spaces.
{ text = text $0 "\n" }
END { size = length(text); at = 1; value("") }

function blank() { while (at <= size && index(" \t\r\n", substr(text, at, 1))) at++ }
function string(    out, c) {
    out = ""
    for (at++; at <= size; at++) {
        c = substr(text, at, 1)
        if (c == "\"") break
        if (c == "\\") {
            c = substr(text, ++at, 1)
            if (c == "n" || c == "r" || c == "t") c = " "
            else if (c == "u") { c = "?"; at += 4 }
        }
        out = out c
    }
    at++
    return out
}
function below(path, key) { return path == "" ? key : path "." key }
function value(path,    c, key, number, word) {
    blank()
    c = substr(text, at, 1)
    if (c == "{" || c == "[") {
        at++
        number = 0
        while (at <= size) {
            blank()
            if (index("}]", substr(text, at, 1))) { at++; return }
            if (substr(text, at, 1) == ",") { at++; continue }
            if (c == "{") { key = string(); blank(); at++; value(below(path, key)) }
            else value(below(path, number++))
        }
    } else if (c == "\"") {
        print path "\t" string()
    } else {
        word = ""
        while (at <= size && !index(",]} \t\r\n", substr(text, at, 1))) { word = word substr(text, at, 1); at++ }
        if (word == "") at++
        else print path "\t" word
    }
}

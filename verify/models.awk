# Makes the rows of VERIFICATION.md's list of models from what `.ci/run loom` says.
# .ci/run loom | awk -f verify/models.awk

function commas(n,  text) {
    for (text = ""; n >= 1000; n = int(n / 1000)) text = sprintf(",%03d", n % 1000) text
    return n text
}

/^model .* executions, bound / {
    # Its test; the file is in its path.
    test = $NF
    sub(/^rt::models::/, "", test)
    took = $(NF - 2)
    sub(/,$/, "", took)
    time = "under 1 s"
    if (took !~ /[mnµ]s$/ && took + 0 >= 1) time = took + 0 < 10 ? "under 10 s" : "under a minute"
    if (took !~ /[mnµ]s$/ && took + 0 >= 60) time = "minutes"
    bound = $(NF - 3)
    sub(/,/, "", bound)
    printf "| `models/%s` | %s | %s | %s |\n", test, bound, commas($(NF - 6)), time
    names[test]
    models++
    executions += $(NF - 6)
}

END {
    print length(names) " models, " models " runs, " commas(executions) " executions" >"/dev/stderr"
}

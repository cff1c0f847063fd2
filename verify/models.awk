# Makes the rows of VERIFICATION.md's list of models from what `.ci/run loom` says.
# .ci/run loom | awk -f verify/models.awk

function commas(n,  text) {
    for (text = ""; n >= 1000; n = int(n / 1000)) text = sprintf(",%03d", n % 1000) text
    return n text
}

# The file and name of the test.
match($0, /rt::models::[a-z_]+::[a-z_]+/) {
    test = substr($0, RSTART + 12, RLENGTH - 12)
}

/^model .* executions, bound / {
    time = "under 1 s"
    if ($NF !~ /[mnµ]s$/ && $NF + 0 >= 1) time = $NF + 0 < 10 ? "under 10 s" : "under a minute"
    if ($NF !~ /[mnµ]s$/ && $NF + 0 >= 60) time = "minutes"
    bound = $(NF - 1)
    sub(/,/, "", bound)
    printf "| `models/%s` | %s | %s | %s |\n", test, bound, commas($3), time
    names[test]
    models++
    executions += $3
}

END {
    print length(names) " models, " models " runs, " commas(executions) " executions" >"/dev/stderr"
}

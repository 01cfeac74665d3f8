#!/bin/sh
# Rounds of pick -> Extract -> Class2D -> evaluate -> feedback -> train, without a window: RELION 3.1, 4 and 5.
#
#   cd PROJECT && DIAMETER=186 BOX=80 RESCALE=32 sh feedback_loop.sh
#
# Everything is an ordinary job of the project: look at it in RELION's window, go on from any of them by hand.
# Settings, as variables:
#   MICS        micrographs STAR file (micrographs_ctf.star)
#   DIAMETER    of the particle in A; required
#   MODE        drpnet, or deepem                     (drpnet)
#   HANDPICKS   coordinates that the first model of deepem learns from; without, the built-in one picks first
#   MODEL       model that picks first                (the built-in one)
#   THRESHOLD   of the first round                    (-1, the model's own)
#   ROUNDS      of picking                            (3)
#   LAST        what the last round ends with: labels, or pick  (labels)
#   BOX         side of the box in px of the micrograph; RESCALE: what it is scaled to; both required
#   CLASSES     2D classes (20); ITERATIONS (20)
#   CLASS2D     more options of the Class2D job, one "name value" a line
#   FEEDBACK    more parameters of feedback, "name value" a line, at most five (none)
#   TRAIN       more parameters of training, likewise, at most four
#   PICKER      the program                           (relion_ext_picker)
#   THREADS     (1)
set -eu
: "${DIAMETER:?say DIAMETER=..., in A}" "${BOX:?say BOX=..., in px}" "${RESCALE:?say RESCALE=..., in px}"
MICS=${MICS:-micrographs_ctf.star} MODE=${MODE:-drpnet} ROUNDS=${ROUNDS:-3} CLASSES=${CLASSES:-20}
ITERATIONS=${ITERATIONS:-20} PICKER=${PICKER:-relion_ext_picker} THREADS=${THREADS:-1} MODEL=${MODEL:-}
HANDPICKS=${HANDPICKS:-} LAST=${LAST:-labels} THRESHOLD=${THRESHOLD:--1}
[ -f default_pipeline.star ] ||
    printf '\n# version 30001\n\ndata_pipeline_general\n\n_rlnPipeLineJobCounter 1\n\n' >default_pipeline.star

run_job() { # run_job FOLDER TYPE, "option value" lines on stdin; the job's name is in $JOB afterwards
    number=$(awk '/_rlnPipeLineJobCounter/ && NF > 1 {print $2; exit} found && NF == 1 {print $1; exit}
                  /_rlnPipeLineJobCounter/ {found = 1}' default_pipeline.star)
    JOB=$1/job$(printf %03d "$number")/
    {
        printf '\ndata_job\n\n_rlnJobType %s\n_rlnJobIsContinue 0\n\ndata_joboptions_values\n\nloop_\n' "$2"
        printf '_rlnJobOptionVariable #1\n_rlnJobOptionValue #2\n'
        sed '/^[[:space:]]*$/d'
        printf '\n'
    } >feedback_loop_job.star
    relion_pipeliner --addJobFromStar feedback_loop_job.star >/dev/null
    relion_pipeliner --RunJobs "$JOB" --sec_wait_after 1 >/dev/null
    rm -f feedback_loop_job.star
    if [ ! -e "${JOB}RELION_JOB_EXIT_SUCCESS" ]; then
        echo "$JOB failed:" >&2
        tail -n 5 "${JOB}run.err" >&2
        exit 1
    fi
    echo "$JOB"
}

external() { # external COMMAND INPUTS, "label value" lines on stdin: parameters
    {
        printf 'fn_exe "%s"\nnr_threads %s\n' "$1" "$THREADS"
        printf '%s\n' "$2"
        awk 'NF {n++; printf "param%d_label %s\nparam%d_value %s\n", n, $1, n, $2}'
    } >feedback_loop_options.txt
    run_job External 99 <feedback_loop_options.txt # no pipe: what is behind a pipe cannot set JOB
    rm -f feedback_loop_options.txt
}

coordinates() { # coordinates JOB NAME: the node that this RELION knows
    for node in "$1coords_suffix_$2.star" "$1$2.star"; do
        if awk -v node="$node" '$1 == node {found = 1} END {exit !found}' default_pipeline.star; then
            echo "$node"
            return
        fi
    done
}

train() { # train "label value" lines on stdin
    { printf 'mode %s\ndiameter %s\n%s\n' "$MODE" "$DIAMETER" "${TRAIN:-}"; cat; } >feedback_loop_parameters.txt
    external "$PICKER train" "${1:-in_mic $MICS}" <feedback_loop_parameters.txt
    rm -f feedback_loop_parameters.txt
    MODEL=${JOB}model.safetensors THRESHOLD=-1
}

if [ "$MODE" = deepem ] && [ -n "$HANDPICKS" ] && [ -z "$MODEL" ]; then
    train "in_mic $MICS
in_coords $HANDPICKS" <<X
X
fi
round=1
while :; do
    echo "round $round of $ROUNDS"
    external "$PICKER" "in_mic $MICS" <<X
mode $MODE
diameter $DIAMETER
threshold $THRESHOLD
${MODEL:+model $MODEL}
X
    PICKS=$(coordinates "$JOB" autopick)
    [ "$round$LAST" != "${ROUNDS}pick" ] || break
    run_job Extract 5 <<X
star_mics $MICS
coords_suffix $PICKS
extract_size $BOX
bg_diameter $((BOX * 3 / 4))
do_rescale Yes
rescale $RESCALE
do_invert Yes
do_norm Yes
nr_mpi 1
X
    run_job Class2D 8 <<X # nr_iter is of 3.1; do_em, do_grad and nr_iter_em are of 4 and 5; neither minds the others
fn_img ${JOB}particles.star
particle_diameter $(awk "BEGIN {print 1.12 * $DIAMETER}")
nr_classes $CLASSES
nr_iter $ITERATIONS
do_em Yes
do_grad No
nr_iter_em $ITERATIONS
nr_mpi 1
nr_threads $THREADS
do_preread_images Yes
${CLASS2D:-}
X
    CLASSIFIED=${JOB}run_it$(printf %03d "$ITERATIONS")_data.star
    external "$PICKER evaluate" "in_mic $MICS" <<X
class2d $CLASSIFIED
X
    external "$PICKER feedback" "in_coords $PICKS
in_part $CLASSIFIED" <<X
${FEEDBACK:-}
X
    LABELS=$JOB
    tail -n 3 "${LABELS}run.out"
    [ "$round" -lt "$ROUNDS" ] && [ -e "${LABELS}another_round" ] || break
    FALSE=$(coordinates "$LABELS" false)
    TRUE=$(coordinates "$LABELS" true)
    if [ "$MODE" = deepem ] && [ -z "$MODEL" ]; then # the built-in model has no training set to add to
        train "in_mic $MICS
in_coords $TRUE" <<X
${FALSE:+add_false $FALSE}
X
    else
        train <<X
${MODEL:+model $MODEL}
add_true $TRUE
${FALSE:+add_false $FALSE}
$([ "$MODE" = deepem ] || echo stage classifier)
X
    fi
    [ ! -e "${JOB}kept_old_model" ] || { echo "the model of round $round is kept" && break; }
    round=$((round + 1))
done

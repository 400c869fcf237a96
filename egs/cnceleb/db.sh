# shellcheck shell=bash disable=SC2034
# Where the corpora lie; read by stage 0. Options of run.sh with the same names win.
cnceleb=   # data, dev/dev.lst, eval (CN-Celeb_flac)
cnceleb2=  # data, spk.lst (CN-Celeb2_flac)
musan=     # noise, music, speech
rirs=      # simulated_rirs/{smallroom,mediumroom}

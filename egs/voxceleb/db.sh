# shellcheck shell=bash disable=SC2034
# Where the corpora lie; read by stage 0. Options of run.sh with the same names win.
voxceleb1=   # [dev|test]/[wav]/idNNNNN/SESSION/NNNNN.wav
voxceleb2=   # [dev|test]/[wav|aac]/idNNNNN/SESSION/NNNNN.{wav,m4a}
trials_dir=  # veri_test2.txt, list_test_all2.txt, list_test_hard2.txt
meta_dir=    # vox1_meta.csv, vox2_meta.csv
musan=       # noise, music, speech
rirs=        # simulated_rirs/{smallroom,mediumroom}

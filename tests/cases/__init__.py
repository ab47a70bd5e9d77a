"""Inputs on which the project failed once, by kind, and the tests that hold them.

one predicate:                 tests/eval/test_recall.py
verify without images:         test_verify_and_train_agree.py
photos of one name, `...jpg`:  tests/pipelines/test_output_names.py
options of a resumed run:      test_resume_options.py
COCO's numbers, `iscrowd`:     test_coco_numbers.py
polygons with NaN, huge ones:  test_coco_numbers.py, tests/data/coco/test_segmentations.py
small COCO sets:               test_verify_and_train_agree.py
relations to itself:           tests/generator/test_bad_input.py
byte order marks:              test_byte_order_marks.py
configurations too large:      test_config_limits.py
flipped bits:                  tests/weights/test_checkpoint.py
cut last line of a history:    test_one_run_per_folder.py
gradients that are NaN:        test_not_finite.py
resume with two processes:     tests/training/parallel/test_processes.py
"""

# The Lua library: lua/sonde/x.lua lands in $(pkgdatadir)/lua/sonde/x.lua.
nobase_dist_pkgdata_DATA += %D%/sonde/args.lua %D%/sonde/block.lua %D%/sonde/cli.lua %D%/sonde/corpus.lua \
  %D%/sonde/eval.lua %D%/sonde/fold.lua %D%/sonde/folder.lua %D%/sonde/folder_rope.lua %D%/sonde/folder_origin.lua %D%/sonde/folder_config.lua %D%/sonde/init.lua %D%/sonde/initpolicy.lua %D%/sonde/machine.lua %D%/sonde/model.lua \
  %D%/sonde/modelconfig.lua %D%/sonde/module.lua %D%/sonde/node.lua %D%/sonde/placement.lua \
  %D%/sonde/probe.lua %D%/sonde/trace.lua %D%/sonde/transformer.lua %D%/sonde/types.lua \
  %D%/sonde/whole_folder.lua %D%/sonde/windows.lua
nobase_dist_pkgdata_DATA += %D%/sonde/cmd/eval.lua %D%/sonde/cmd/graph.lua %D%/sonde/cmd/repl.lua \
  %D%/sonde/cmd/run.lua %D%/sonde/cmd/train.lua %D%/sonde/cmd/version.lua

nobase_dist_pkgdata_DATA += %D%/sonde/bench.lua %D%/sonde/cmd/bench.lua %D%/sonde/config.lua %D%/sonde/forecast.lua
nobase_dist_pkgdata_DATA += %D%/sonde/current.lua %D%/sonde/stats.lua %D%/sonde/plot.lua %D%/sonde/plot_heat.lua \
  %D%/sonde/plot_lines.lua %D%/sonde/plot_svg.lua %D%/sonde/plot_text.lua \
  %D%/sonde/report.lua %D%/sonde/report_data.lua %D%/sonde/report_export.lua %D%/sonde/report_figures.lua \
  %D%/sonde/report_html.lua %D%/sonde/report_page.lua %D%/sonde/report_style.lua %D%/sonde/report_table.lua %D%/sonde/shown.lua %D%/sonde/sorted_keys.lua %D%/sonde/sweep.lua \
  %D%/sonde/sweep_changes.lua %D%/sonde/sweep_collect.lua %D%/sonde/sweep_grid.lua %D%/sonde/sweep_plan.lua %D%/sonde/sweep_view.lua

nobase_dist_pkgdata_DATA += %D%/sonde/progress.lua %D%/sonde/train.lua %D%/sonde/schedule.lua %D%/sonde/train_changes.lua %D%/sonde/train_record.lua %D%/sonde/train_start.lua \
  %D%/sonde/fingerprint.lua %D%/sonde/cmd/runs.lua
nobase_dist_pkgdata_DATA += %D%/sonde/cmd/plugin.lua %D%/sonde/cmd/attention.lua %D%/sonde/cmd_output.lua %D%/sonde/attention_maps.lua \
  %D%/sonde/runs_export.lua %D%/sonde/settings.lua
nobase_dist_pkgdata_DATA += %D%/sonde/lora.lua %D%/sonde/prune.lua %D%/sonde/prune_cut.lua %D%/sonde/prune_strategy.lua \
  %D%/sonde/cmd/prune.lua
nobase_dist_pkgdata_DATA += %D%/sonde/generate.lua %D%/sonde/generate_check.lua %D%/sonde/cmd/generate.lua
nobase_dist_pkgdata_DATA += %D%/sonde/probe/added.lua %D%/sonde/probe/affine.lua %D%/sonde/probe/angle.lua \
  %D%/sonde/probe/attention.lua %D%/sonde/probe/attention_weights.lua %D%/sonde/probe/bootstrap.lua \
  %D%/sonde/probe/causal.lua %D%/sonde/probe/gradient.lua \
  %D%/sonde/probe/jacobian.lua %D%/sonde/probe/keep.lua %D%/sonde/probe/lens.lua %D%/sonde/probe/norms.lua \
  %D%/sonde/probe/registry.lua %D%/sonde/probe/removal.lua %D%/sonde/probe/session.lua \
  %D%/sonde/probe/usefulness.lua %D%/sonde/probe/variance.lua
nobase_dist_pkgdata_DATA += %D%/sonde/probe/show.lua %D%/sonde/cmd/probe.lua

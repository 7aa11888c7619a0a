# The Lua library: lua/sonde/x.lua lands in $(pkgdatadir)/lua/sonde/x.lua.
nobase_dist_pkgdata_DATA += %D%/sonde/base/args.lua %D%/sonde/base/config.lua %D%/sonde/base/current.lua \
  %D%/sonde/base/fingerprint.lua %D%/sonde/base/front.lua %D%/sonde/base/listed.lua %D%/sonde/base/machine.lua \
  %D%/sonde/base/output.lua %D%/sonde/base/progress.lua %D%/sonde/base/registry.lua %D%/sonde/base/settings.lua \
  %D%/sonde/base/shown.lua %D%/sonde/base/sorted_keys.lua %D%/sonde/base/stats.lua %D%/sonde/base/types.lua \
  %D%/sonde/base/whole_folder.lua
nobase_dist_pkgdata_DATA += %D%/sonde/cmd/attention.lua %D%/sonde/cmd/bench.lua %D%/sonde/cmd/eval.lua \
  %D%/sonde/cmd/generate.lua %D%/sonde/cmd/graph.lua %D%/sonde/cmd/init.lua %D%/sonde/cmd/plugin.lua \
  %D%/sonde/cmd/probe.lua %D%/sonde/cmd/prune.lua %D%/sonde/cmd/repl.lua %D%/sonde/cmd/run.lua \
  %D%/sonde/cmd/runs.lua %D%/sonde/cmd/train.lua %D%/sonde/cmd/version.lua
nobase_dist_pkgdata_DATA += %D%/sonde/data/init.lua %D%/sonde/data/documents.lua %D%/sonde/data/feed.lua %D%/sonde/data/windows.lua
nobase_dist_pkgdata_DATA += %D%/sonde/eval/generate.lua %D%/sonde/eval/generate_check.lua %D%/sonde/eval/init.lua
nobase_dist_pkgdata_DATA += %D%/sonde/graph/node.lua
nobase_dist_pkgdata_DATA += %D%/sonde/init.lua
nobase_dist_pkgdata_DATA += %D%/sonde/io/arch/init.lua %D%/sonde/io/arch/llama.lua %D%/sonde/io/arch/parts/keys.lua \
  %D%/sonde/io/arch/parts/rope.lua %D%/sonde/io/arch/parts/tokens.lua %D%/sonde/io/arch/sonde.lua \
  %D%/sonde/io/config.lua %D%/sonde/io/init.lua %D%/sonde/io/origin.lua %D%/sonde/io/weights.lua
nobase_dist_pkgdata_DATA += %D%/sonde/model/block.lua %D%/sonde/model/fold.lua %D%/sonde/model/init.lua \
  %D%/sonde/model/init_policy.lua %D%/sonde/model/kind/attention.lua %D%/sonde/model/kind/ffn.lua \
  %D%/sonde/model/kind/norm.lua %D%/sonde/model/module.lua %D%/sonde/model/names.lua %D%/sonde/model/objective.lua \
  %D%/sonde/model/objectives/classifier.lua %D%/sonde/model/objectives/language_model.lua %D%/sonde/model/placement.lua \
  %D%/sonde/model/trace.lua %D%/sonde/model/transformer.lua
nobase_dist_pkgdata_DATA += %D%/sonde/probe/added.lua %D%/sonde/probe/affine.lua %D%/sonde/probe/attention_maps.lua \
  %D%/sonde/probe/attention_weights.lua %D%/sonde/probe/bootstrap.lua %D%/sonde/probe/init.lua \
  %D%/sonde/probe/keep.lua %D%/sonde/probe/measures/angle.lua %D%/sonde/probe/measures/attention.lua \
  %D%/sonde/probe/measures/causal.lua %D%/sonde/probe/measures/cka.lua %D%/sonde/probe/measures/gradient.lua %D%/sonde/probe/measures/jacobian.lua \
  %D%/sonde/probe/measures/lens.lua %D%/sonde/probe/measures/removal.lua %D%/sonde/probe/measures/usefulness.lua \
  %D%/sonde/probe/measures/variance.lua %D%/sonde/probe/norms.lua %D%/sonde/probe/registry.lua \
  %D%/sonde/probe/session.lua %D%/sonde/probe/show.lua
nobase_dist_pkgdata_DATA += %D%/sonde/report/data.lua %D%/sonde/report/export.lua %D%/sonde/report/figures.lua \
  %D%/sonde/report/html.lua %D%/sonde/report/init.lua %D%/sonde/report/page.lua %D%/sonde/report/plot/heat.lua \
  %D%/sonde/report/plot/init.lua %D%/sonde/report/plot/lines.lua %D%/sonde/report/plot/svg.lua \
  %D%/sonde/report/plot/text.lua %D%/sonde/report/runs.lua %D%/sonde/report/style.lua %D%/sonde/report/table.lua
nobase_dist_pkgdata_DATA += %D%/sonde/sparse/cut.lua %D%/sonde/sparse/init.lua %D%/sonde/sparse/lora.lua \
  %D%/sonde/sparse/strategies/angular.lua %D%/sonde/sparse/strategies/influence.lua \
  %D%/sonde/sparse/strategies/last.lua %D%/sonde/sparse/strategies/random.lua \
  %D%/sonde/sparse/strategies/removal.lua %D%/sonde/sparse/strategies/usefulness.lua %D%/sonde/sparse/strategy.lua
nobase_dist_pkgdata_DATA += %D%/sonde/sweep/changes.lua %D%/sonde/sweep/collect.lua %D%/sonde/sweep/experiment.lua \
  %D%/sonde/sweep/grid.lua %D%/sonde/sweep/init.lua %D%/sonde/sweep/plan.lua %D%/sonde/sweep/view.lua
nobase_dist_pkgdata_DATA += %D%/sonde/train/bench.lua %D%/sonde/train/changes.lua %D%/sonde/train/config.lua \
  %D%/sonde/train/forecast.lua %D%/sonde/train/hooks.lua %D%/sonde/train/init.lua %D%/sonde/train/record.lua %D%/sonde/train/schedule.lua \
  %D%/sonde/train/start.lua

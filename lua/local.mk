# The Lua library: lua/sonde/x.lua lands in $(pkgdatadir)/lua/sonde/x.lua.
nobase_dist_pkgdata_DATA += %D%/sonde/args.lua %D%/sonde/cli.lua

# Lua library. nobase_dist_pkgdata_DATA += %D%/sonde/x.lua

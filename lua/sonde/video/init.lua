--- sonde.video - drive video: clips and their labels, motion of camera and others, measures of recognition and warning.

-- What lives here: clips.lua reads tables of labels (formats in tables/), features.lua decodes clips and keeps their
-- features, make.lua makes clips with the driving simulator, metrics.lua measures scores against labels, ustring.lua
-- the same as the field's usual script does.

return {}

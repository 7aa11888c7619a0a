# Completion of sonde's command line in bash: commands, options, and values such as the names of norms and placements.
# The program itself says what may come next.
_sonde() {
  local word=${COMP_WORDS[COMP_CWORD]} line
  [[ $word == '=' ]] && word=
  COMPREPLY=()
  while IFS= read -r line; do
    case $line in
      :files | :folders)
        local kind=-f
        [[ $line == :folders ]] && kind=-d
        while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen "$kind" -- "$word")
        compopt -o filenames 2> /dev/null || true      # outside of a completion there is nothing to set
        ;;
      *) COMPREPLY+=("$line") ;;
    esac
  done < <("${COMP_WORDS[0]}" complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2> /dev/null)
}
complete -F _sonde sonde

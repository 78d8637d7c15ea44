# Turns a knitting pattern such as "k2 p2 (yo k2tog)3" into single stitches.
class Pattern
  Token = Struct.new(:kind, :text, :times)

  def initialize(source)
    @source = source
  end

  def stitches
    expand(@source.strip)
  end

  private

  def expand(text)
    result = []
    until text.empty?
      case text
      when /\A\(([^()]*)\)(\d+)\s*/
        rest = $'
        group = expand($1.dup)
        result.concat(group * $2.to_i)
        text = rest
      when /\A(k2tog|ssk|yo)\s*/
        result << $1
        text = $'
      when /\A([kp])(\d+)\s*/
        result.concat([$1] * $2.to_i)
        text = $'
      else
        raise ArgumentError, "cannot read #{text[0, 12].inspect}"
      end
    end
    result
  end
end

puts Pattern.new("k2 p2 (yo k2tog)3 k1").stitches.join(" ") if $PROGRAM_NAME == __FILE__

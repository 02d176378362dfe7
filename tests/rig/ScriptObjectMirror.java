package jdk.nashorn.api.scripting;

/** What Maxwell asks for by name of the script engine that the JDK has lost since 15. Nothing is ever one. */
public abstract class ScriptObjectMirror implements java.util.Map<String, Object> {
    public abstract boolean isArray();
}

package server

import (
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectionv1alpha "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"embedd/internal/access"
	embeddv1 "embedd/proto/embedd/v1"
)

// rule is who may call a method, and what its calls are counted as.
type rule struct {
	// open: no key is needed.
	open bool
	// stream: of requests or answers.
	stream bool
	// requests: of requests.
	requests bool
	// own: of a service of ours.
	own   bool
	role  access.Role
	class embeddv1.Class
	// scoped: it keeps to the filter of a key.
	scoped bool
}

// foreign are the rules of the services that are not ours, whose contracts cannot carry them.
var foreign = map[string]rule{
	grpc_health_v1.Health_ServiceDesc.ServiceName:              {open: true},
	reflectionv1.ServerReflection_ServiceDesc.ServiceName:      {role: access.Admin, class: embeddv1.Class_CLASS_ADMIN},
	reflectionv1alpha.ServerReflection_ServiceDesc.ServiceName: {role: access.Admin, class: embeddv1.Class_CLASS_ADMIN},
}

var roles = map[embeddv1.KeyRole]access.Role{
	embeddv1.KeyRole_KEY_ROLE_READ:  access.Read,
	embeddv1.KeyRole_KEY_ROLE_WRITE: access.Write,
	embeddv1.KeyRole_KEY_ROLE_ADMIN: access.Admin,
}

// rulesOf gives the rule of each method that a server has, by its full name. A method without one is an error.
func rulesOf(services map[string]grpc.ServiceInfo) (map[string]rule, error) {
	rules := map[string]rule{}
	for service, info := range services {
		for _, m := range info.Methods {
			r, err := ruleOf(service, m.Name)
			if err != nil {
				return nil, err
			}
			r.stream, r.requests = m.IsClientStream || m.IsServerStream, m.IsClientStream
			rules["/"+service+"/"+m.Name] = r
		}
	}
	return rules, nil
}

// ruleOf reads the rule of a method off its contract.
func ruleOf(service, method string) (rule, error) {
	if r, ok := foreign[service]; ok {
		return r, nil
	}
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(service + "." + method))
	if err != nil {
		return rule{}, fmt.Errorf("method %s/%s: %w", service, method, err)
	}
	written, _ := proto.GetExtension(found.Options(), embeddv1.E_Rule).(*embeddv1.Rule)
	r := rule{own: true, role: roles[written.GetRole()], class: written.GetClass(), scoped: written.GetScoped()}
	if r.role == access.Nobody || r.class == embeddv1.Class_CLASS_UNSPECIFIED {
		return rule{}, fmt.Errorf("method %s/%s has no rule of who may call it; give it the option embedd.v1.rule", service, method)
	}
	return r, nil
}
